"""Writes a toy set in DiffusionDB 2M's layout, with rows that ingestion must drop.

6 % of the rows are not square, 5 % are blurred as unsafe, 4 % have a negative guidance
scale and 5 % fewer than 10 steps; 10 % repeat the prompt of a good row with another
seed. There is at least one row of each kind.
"""

import dataclasses
import datetime
import io
import json
import pathlib
import random
import sys
import uuid
import zipfile
from collections.abc import Iterable

import tqdm
from PIL import ImageFilter, PngImagePlugin

from tf_prompt.data.toy import grammar, render
from tf_prompt.files import (
    FORCE_HELP,
    find_present,
    note_files,
    read_manifest,
    replacing,
    take_over,
)
from tf_prompt.options import DONE, command, option, parse_args, require_positive

GOOD, DUPLICATE = "good", "duplicate"
NOT_SQUARE, BLURRED = "not_square", "blurred"
LOW_CFG, FEW_STEPS = "low_cfg", "few_steps"
SHARES = {
    NOT_SQUARE: 0.06,
    BLURRED: 0.05,
    LOW_CFG: 0.04,
    FEW_STEPS: 0.05,
    DUPLICATE: 0.10,
}

# Column types of DiffusionDB's metadata.parquet.
DTYPES = {
    "image_name": "str",
    "prompt": "str",
    "part_id": "uint16",
    "seed": "uint32",
    "step": "uint16",
    "cfg": "float32",
    "sampler": "uint8",
    "width": "uint16",
    "height": "uint16",
    "user_name": "str",
    "timestamp": "datetime64[us, UTC]",
    "image_nsfw": "float32",
    "prompt_nsfw": "float32",
}
# `metadata.parquet` numbers the samplers, `part-*.json` names them.
SAMPLERS = {1: "ddim", 3: "k_euler", 8: "k_lms"}
_COMMAND = "toy_diffusiondb"
_FIRST_DAY = datetime.datetime(2022, 8, 6, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True)
class ToyDiffusionDBConfig:
    """Writes a toy set in DiffusionDB 2M's layout."""

    output: str = option(dataclasses.MISSING, "output: folder to write")
    parts: int = option(4, "data: number of zip files")
    images_per_part: int = option(100, "data: number of images in each zip")
    image_size: int = option(192, "data: side of a square image, pixels")
    seed: int = option(0, "data: seed of prompts, images and settings")
    force: bool = option(False, FORCE_HELP, group="output")

    def __post_init__(self):
        require_positive(self, "parts", "images_per_part", "image_size")


def write_toy_diffusiondb(
    folder: str | pathlib.Path,
    num_parts: int = 4,
    images_per_part: int = 100,
    seed: int = 0,
    image_size: int = 192,
    force: bool = False,
) -> dict[str, int]:
    """Writes `images/part-*.zip`, then `metadata.parquet`.

    Args:
        folder: the folder; created if missing.
        num_parts: int > 0, number of zip files.
        images_per_part: int > 0, number of images in each.
        seed: int, random seed; equal arguments give equal bytes in the zips.
        image_size: int > 0, side of a square image, pixels.
        force: whether to replace files that this did not write.

    Returns:
        dict of the number of rows of each kind: `GOOD` and the keys of `SHARES`.

    Raises:
        ValueError: if there are too few images for one of each kind, the extra for
            parquet is not installed, or foreign files would be replaced.
    """
    _require_parquet()
    folder = pathlib.Path(folder)
    rng = random.Random(seed)
    kinds = _draw_kinds(num_parts * images_per_part, rng)
    rows = _draw_rows(kinds, images_per_part, image_size, rng)
    _claim(folder, num_parts, force)
    with tqdm.tqdm(total=len(rows), desc="DiffusionDB layout", unit=" images") as bar:
        for start in range(0, len(rows), images_per_part):
            part = rows[start : start + images_per_part]
            _write_part(folder / "images", part, image_size, bar)
    _write_metadata(folder / "metadata.parquet", rows)
    return {kind: kinds.count(kind) for kind in (GOOD, *SHARES)}


@dataclasses.dataclass(frozen=True)
class _Row:
    kind: str
    scene: grammar.Scene
    metadata: dict


def _claim(folder: pathlib.Path, num_parts: int, force: bool) -> None:
    """Creates the folder, unless it holds DiffusionDB itself or a user's files."""
    files = [f"images/{_part_name(i)}.zip" for i in range(1, num_parts + 1)]
    files.append("metadata.parquet")
    written = read_manifest(folder).get(_COMMAND, {}).get("files", [])
    found = find_present(folder, set(files).difference(written))
    take_over(folder, _COMMAND, found, force)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    note_files(folder, _COMMAND, {*files, *written})


def _part_name(part_id: int) -> str:
    return f"part-{part_id:06d}"


def _require_parquet() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ValueError(
            'metadata.parquet needs an extra: pip install "tf_prompt[ingest]"'
        ) from error


def _draw_kinds(num_rows: int, rng: random.Random) -> list[str]:
    if num_rows < 2 * len(SHARES):
        raise ValueError(
            f"parts times images_per_part must be at least {2 * len(SHARES)}. "
            f"Received: {num_rows}"
        )
    kinds = []
    for kind, share in SHARES.items():
        kinds += [kind] * max(1, round(share * num_rows))
    kinds += [GOOD] * (num_rows - len(kinds))
    rng.shuffle(kinds)
    return kinds


def _draw_rows(kinds, images_per_part: int, image_size: int, rng) -> list[_Row]:
    pairs = grammar.draw_prompts(len(kinds), rng.getrandbits(32))
    good = [pair for pair, kind in zip(pairs, kinds, strict=True) if kind == GOOD]
    rows = []
    for index, (kind, pair) in enumerate(zip(kinds, pairs, strict=True)):
        scene, prompt = rng.choice(good) if kind == DUPLICATE else pair
        metadata = _draw_metadata(kind, image_size, rng)
        part_id = index // images_per_part + 1
        rows.append(
            _Row(kind, scene, {**metadata, "prompt": prompt, "part_id": part_id})
        )
    return rows


def _draw_metadata(kind: str, image_size: int, rng: random.Random) -> dict:
    size = [image_size, image_size]
    if kind == NOT_SQUARE:
        size[rng.randrange(2)] = max(1, image_size * 3 // 4)
    minutes = rng.randrange(14 * 24 * 60)
    return {
        "image_name": f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.png",
        "seed": rng.getrandbits(32),
        "step": rng.randrange(1, 10) if kind == FEW_STEPS else rng.choice((25, 50)),
        "cfg": -1.0 if kind == LOW_CFG else rng.choice((7.0, 7.5, 12.0)),
        "sampler": rng.choice(tuple(SAMPLERS)),
        "width": size[0],
        "height": size[1],
        "user_name": "deleted_account",
        "timestamp": _FIRST_DAY + datetime.timedelta(minutes=minutes),
        "image_nsfw": 2.0 if kind == BLURRED else round(rng.uniform(0, 0.4), 3),
        "prompt_nsfw": round(rng.uniform(0, 0.1), 3),
    }


def _write_part(folder: pathlib.Path, rows: list[_Row], image_size: int, bar) -> None:
    name = _part_name(rows[0].metadata["part_id"])
    path = folder / f"{name}.zip"
    with (
        replacing(path) as temporary,
        # PNG does not compress further.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for row in rows:
            png = _draw_png(row, image_size)
            archive.writestr(zipfile.ZipInfo(row.metadata["image_name"]), png)
            bar.update()
        archive.writestr(zipfile.ZipInfo(f"{name}.json"), _describe(rows))


def _draw_png(row: _Row, image_size: int) -> bytes:
    seed, prompt = row.metadata["seed"], row.metadata["prompt"]
    image = render.draw_image(row.scene, seed, image_size)
    image = image.crop((0, 0, row.metadata["width"], row.metadata["height"]))
    if row.kind == BLURRED:
        image = image.filter(ImageFilter.GaussianBlur(image_size / 16))
    # As in some images of DiffusionDB: the prompt, which nothing may read.
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", prompt)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def _describe(rows: Iterable[_Row]) -> str:
    described = {
        row.metadata["image_name"]: {
            "p": row.metadata["prompt"],
            "se": row.metadata["seed"],
            "c": row.metadata["cfg"],
            "st": row.metadata["step"],
            "sa": SAMPLERS[row.metadata["sampler"]],
        }
        for row in rows
    }
    return json.dumps(described, indent=2)


def _write_metadata(path: pathlib.Path, rows: Iterable[_Row]) -> None:
    import pandas as pd

    table = pd.DataFrame([row.metadata for row in rows], columns=list(DTYPES))
    with replacing(path) as temporary:
        table.astype(DTYPES).to_parquet(temporary, index=False)


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(ToyDiffusionDBConfig, argv, _COMMAND)
    counts = write_toy_diffusiondb(
        options.output,
        options.parts,
        options.images_per_part,
        options.seed,
        options.image_size,
        options.force,
    )
    print(f"{options.output}: {json.dumps(counts)}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
