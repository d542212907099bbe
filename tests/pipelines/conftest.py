"""Tiny sources in the layouts that pipelines read."""

import csv
import io
import json
import signal
import zipfile

import pandas as pd
import PIL.Image
import PIL.PngImagePlugin
import pytest

from pipelines.options import WriteOptions

NUM_PARTS, PART_SIZE = 3, 6
TYPES = {
    "part_id": "uint16",
    "step": "uint16",
    "cfg": "float32",
    "width": "uint16",
    "height": "uint16",
    "image_nsfw": "float32",
}


@pytest.fixture(autouse=True)
def _interruptible():
    """What a test starts heeds SIGINT, though `nohup` made the suite ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def encode(size=(40, 40), colour="red", prompt="", encoding="PNG") -> bytes:
    """One encoded image; a PNG carries the prompt in a text chunk."""
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("Dream", prompt or "none")
    image = PIL.Image.new("RGB", size, colour)
    # A picture of one colour would be rejected.
    image.paste("black", (0, 0, size[0] // 2, size[1] // 2))
    return encode_pillow(image, encoding, info if encoding == "PNG" else None)


def encode_pillow(image, encoding="PNG", info=None) -> bytes:
    """The bytes of a Pillow image in a file."""
    buffer = io.BytesIO()
    image.save(buffer, encoding, **({"pnginfo": info} if info else {}))
    return buffer.getvalue()


def write_zip(path, members: dict[str, bytes]) -> None:
    """Writes an archive with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def make_row(name: str, prompt: str, part_id: int = 1, **changes) -> dict:
    """One row of metadata that every filter keeps."""
    row = {"image_name": name, "prompt": prompt, "part_id": part_id, "step": 50}
    row |= {"cfg": 7.0, "width": 40, "height": 40, "image_nsfw": 0.1}
    return row | changes


def write_metadata(path, rows: list[dict]) -> None:
    """Writes metadata with DiffusionDB's types."""
    pd.DataFrame(rows).astype(TYPES).to_parquet(path)


def write_source(root, rows, members, metadata=True):
    """Writes a DiffusionDB 2M folder of one part."""
    write_zip(root / "images" / "part-000001.zip", members)
    if metadata:
        write_metadata(root / "metadata.parquet", rows)
    return root


@pytest.fixture
def source_2m(tmp_path):
    """Three parts of six images, every prompt another."""
    root, rows = tmp_path / "source", []
    for part_id in range(1, NUM_PARTS + 1):
        names = [f"{part_id}-{letter}.png" for letter in "abcdef"[:PART_SIZE]]
        prompts = [f"château number {name}" for name in names]
        prompts = [p.translate(str.maketrans("123", "xyz")) for p in prompts]
        entries = {
            name: {"p": prompt, "se": 1, "c": 7.0, "st": 50}
            for name, prompt in zip(names, prompts, strict=True)
        }
        members = {name: encode(prompt=entries[name]["p"]) for name in names}
        members[f"part-{part_id:06d}.json"] = json.dumps(entries).encode()
        write_zip(root / "images" / f"part-{part_id:06d}.zip", members)
        rows += [make_row(n, entries[n]["p"], part_id) for n in names]
    write_metadata(root / "metadata.parquet", rows)
    return root


@pytest.fixture
def source_kaggle(tmp_path):
    """Two images with a prompt each."""
    root = tmp_path / "kaggle"
    (root / "images").mkdir(parents=True)
    rows = [("imgId", "prompt"), ("1a", "a red fox"), ("2b", 'the "old" mill, at dawn')]
    for name, _ in rows[1:]:
        (root / "images" / f"{name}.png").write_bytes(encode())
    write_csv(root / "prompts.csv", rows)
    return root


def write_csv(path, rows) -> None:
    """Writes a table, its first row the header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def plan(path, **flags):
    """Opens a source as commands do, with what is settled over all of its rows."""
    from pipelines.planning import open_planned

    source, _ = open_planned(WriteOptions(source=str(path), output="unused", **flags))
    return source
