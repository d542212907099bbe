"""A folder of image files to prompts, against ResNet50 alone on the same pictures.

JPEG files of 224 pixels, both base captioners with random weights, which never end
a prompt: every one takes all its 31 steps.
"""

import functools
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks import measure, threads

threads.pin()
import tensorflow as tf  # noqa: E402

from tf_prompt.data import images, listing  # noqa: E402
from tf_prompt.data.text import SPECIAL_TOKENS  # noqa: E402
from tf_prompt.data.vocabulary import WordVocabulary  # noqa: E402
from tf_prompt.inference import image_files  # noqa: E402
from tf_prompt.inference.captioner import CaptionerModel  # noqa: E402
from tf_prompt.models import presets  # noqa: E402
from tf_prompt.predict import BATCH_SIZE  # noqa: E402

TARGET = 0.75
PRESETS = ("transformer_base", "lstm_base")
PACKAGES = ("tensorflow", "keras", "keras-hub")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("folder", __doc__, argv)
    num_images, repeats = (64, 2) if quick else (256, 5)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(pathlib.Path(folder), num_images)
        return measure.report(
            *(compare_preset(name, paths, repeats) for name in PRESETS)
        )


def write_pictures(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Smooth noise as JPEG files, about as large as photographs."""
    random = np.random.default_rng(0)
    size = images.IMAGE_SIZE
    for index in range(count):
        coarse = random.integers(0, 256, (28, 28, 3)).astype(np.uint8)
        picture = tf.cast(tf.image.resize(coarse, (size, size)), tf.uint8)
        path = folder / f"{index:04}.jpg"
        path.write_bytes(images.encode_jpeg(picture))
    return listing.find_images([folder])


def compare_preset(name: str, paths, repeats: int) -> dict:
    """The whole way, and the part of it that is ResNet50."""
    captioner = presets.build(name)
    words = [f"word{i}" for i in range(captioner.vocab_size - len(SPECIAL_TOKENS))]
    vocabulary = [*SPECIAL_TOKENS, *words]
    writer = CaptionerModel(captioner, WordVocabulary(vocabulary))

    def predict():
        return list(image_files.predict(writer, paths, BATCH_SIZE))

    look = tf.function(functools.partial(captioner.extract_regions, training=False))
    size = images.IMAGE_SIZE
    pictures = tf.stack([images.decode_image(p.read_bytes(), size) for p in paths])

    def look_only():
        for start in range(0, len(paths), BATCH_SIZE):
            look(pictures[start : start + BATCH_SIZE]).numpy()

    alone = paths[:: len(paths) // 8]
    expected = list(image_files.predict(writer, alone, 1))
    found = {row["path"]: row for row in predict()}
    parity = all(found[row["path"]]["prompt"] == row["prompt"] for row in expected)
    return measure.compare(
        f"folder_{name}",
        predict,
        look_only,
        repeats,
        len(paths),
        TARGET,
        parity,
        PACKAGES,
    )


if __name__ == "__main__":
    sys.exit(main())
