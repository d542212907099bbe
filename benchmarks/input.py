"""Input: reading shards against reading the raw images, with PyTorch and with zips.

Pictures of 512 pixels become batches of 64 at 224 pixels; two workers each.
"""

import pathlib
import sys
import tempfile
import zipfile

import numpy as np
import PIL.Image
import torch

from benchmarks import measure
from benchmarks.ingest import write_toy
from tf_prompt.options import import_tensorflow

import_tensorflow()
import tensorflow as tf  # noqa: E402

from pipelines import write_records  # noqa: E402
from tf_prompt.data import caption_batches, images  # noqa: E402

BATCH, WORKERS = 64, 2
PACKAGES = ("tensorflow", "torch", "pillow")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("input", __doc__, argv)
    num_images, repeats = (200, 1) if quick else (1200, 5)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        raw, shards, files = scratch / "raw", scratch / "shards", scratch / "files"
        write_toy(raw, 4, num_images // 4)
        write_records.main(["--source", str(raw), "--output", str(shards)])
        extract(raw, files)
        rates = {
            "torch": lambda: rate_of(torch_batches(files)),
            "zips": lambda: rate_of(zip_batches(raw)),
        }
        parity = same_pictures(shards, files)
        return measure.report(
            *(
                measure.result(
                    f"input_against_{name}",
                    measure.compare_rates(
                        lambda: rate_of(shard_batches(shards)), rate, repeats
                    ),
                    8,
                    parity,
                    PACKAGES,
                )
                for name, rate in rates.items()
            )
        )


def extract(raw: pathlib.Path, files: pathlib.Path) -> None:
    """Writes the PNGs of a source as loose files, as PyTorch projects keep them."""
    for archive in sorted(raw.glob("images/*.zip")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(files)


def rate_of(batches) -> float:
    """Images a second, one pass over batches of images."""
    count = 0

    def read():
        nonlocal count
        for batch in batches:
            count += len(batch)

    seconds = measure.time_of(read)
    return count / seconds


def shard_batches(shards: pathlib.Path):
    """Ours, on the split that holds nine tenths of the images."""
    batches = caption_batches.evaluation_batches(
        shards, "train", image_size=images.IMAGE_SIZE, batch_size=BATCH
    )
    return (batch["image"] for batch in batches)


class PNGFiles(torch.utils.data.Dataset):
    """The usual PyTorch data set: a file an item, decoded and resized by Pillow."""

    def __init__(self, files: pathlib.Path):
        self.paths = sorted(files.rglob("*.png"))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return torch.from_numpy(read_with_pillow(self.paths[index]))


def read_with_pillow(path: pathlib.Path) -> np.ndarray:
    """One picture as training wants it: the centred square, 224 pixels, RGB."""
    with PIL.Image.open(path) as image:
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        size = (images.IMAGE_SIZE, images.IMAGE_SIZE)
        resized = image.resize(size, PIL.Image.Resampling.BILINEAR, box)
        return np.asarray(resized).copy()


def torch_batches(files: pathlib.Path):
    """The rival: PyTorch's DataLoader with worker processes."""
    return torch.utils.data.DataLoader(PNGFiles(files), BATCH, num_workers=WORKERS)


def zip_batches(raw: pathlib.Path):
    """The same decoding as ours, but of raw PNGs out of the zips at every pass."""

    def read():
        for archive in sorted(raw.glob("images/*.zip")):
            with zipfile.ZipFile(archive) as opened:
                for name in opened.namelist():
                    if name.endswith(".png"):
                        yield opened.read(name)

    encoded = tf.data.Dataset.from_generator(
        read, output_signature=tf.TensorSpec((), tf.string)
    )
    decoded = encoded.map(
        lambda data: images.decode_image(data, images.IMAGE_SIZE), WORKERS
    )
    return decoded.batch(BATCH).prefetch(2)


def same_pictures(shards: pathlib.Path, files: pathlib.Path) -> bool:
    """Whether the shards hold, as JPEG, what Pillow gives to half a level of 255."""
    paths = {path.name: path for path in files.rglob("*.png")}
    batches = caption_batches.evaluation_batches(
        shards, "train", image_size=images.IMAGE_SIZE, batch_size=BATCH, limit=BATCH
    )
    for batch in batches:
        for picture, name in zip(batch["image"], batch["image_id"], strict=True):
            path = paths[name.numpy().decode()]
            resized = images.decode_image(path.read_bytes(), images.IMAGE_SIZE)
            theirs = read_with_pillow(path).astype(float)
            if np.abs(resized.numpy() - theirs).mean() > 0.5:
                return False
            stored = tf.io.decode_jpeg(images.encode_jpeg(resized))
            if not (stored.numpy() == picture.numpy()).all():
                return False
    return True


if __name__ == "__main__":
    sys.exit(main())
