"""Writes the data of `tests/pipelines/test_dataset_builder.py` beside this file.

From a checkout: python -m pipelines.diffusiondb.dummy_data.write
"""

import io
import pathlib
import zipfile

import pandas as pd
import PIL.Image

from tf_prompt.data.toy.diffusiondb import write_toy_diffusiondb

FOLDER = pathlib.Path(__file__).parent
# With this seed, all three splits get an image.
SEED = 3


def write_large(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Converts a set in the layout of DiffusionDB 2M to the layout of Large.

    Args:
        source: folder in the layout of 2M.
        folder: folder to write.
    """
    parts = folder / "diffusiondb-large-part-1"
    parts.mkdir(parents=True)
    for path in sorted((source / "images").glob("*.zip")):
        with (
            zipfile.ZipFile(path) as old,
            zipfile.ZipFile(parts / path.name, "w") as new,
        ):
            for name in old.namelist():
                data = old.read(name)
                if name.endswith(".png"):
                    data = _to_webp(data)
                else:
                    data = data.replace(b".png", b".webp")
                new.writestr(zipfile.ZipInfo(name.replace(".png", ".webp")), data)
    rows = pd.read_parquet(source / "metadata.parquet")
    rows["image_name"] = rows["image_name"].str.replace(".png", ".webp")
    rows.to_parquet(folder / "metadata-large.parquet", index=False)


def _to_webp(png: bytes) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.open(io.BytesIO(png)).save(buffer, "WEBP")
    return buffer.getvalue()


if __name__ == "__main__":
    write_toy_diffusiondb(FOLDER / "2m", 2, 6, SEED, image_size=48)
    write_large(FOLDER / "2m", FOLDER / "large")
