"""Sound files to begin from, and what damages more than their bytes."""

import csv
import dataclasses
import functools
import io
import json
import pathlib
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Callable

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow
import pyarrow.parquet
import tensorflow as tf

from pipelines import convert, parts, tally
from pipelines.options import Conversion
from tests.fuzz.damage import TOKENS, damage, damage_json
from tests.pipelines.conftest import TYPES, encode, make_row
from tf_prompt.data import records
from tf_prompt.evaluation import prediction_log
from tf_prompt.runs.config import FitConfig

CONVERSION = Conversion(image_size=8, max_pixels=2**22)


PROMPTS = ["a red fox, oil painting", "château by 東京", 'the "old" mill']


def make_json(chance: random.Random, seed: bytes) -> bytes:
    """Damages the content of a JSON file, or its bytes."""
    if chance.random() < 0.3:
        return damage(chance, seed)
    return json.dumps(damage_json(chance, json.loads(seed))).encode()


def make_lines(chance: random.Random, seed: bytes) -> bytes:
    """Damages lines of JSON."""
    lines = filter(None, seed.split(b"\n"))
    return b"\n".join(make_json(chance, line) for line in lines) + b"\n"


@functools.cache
def encoded_images() -> list[bytes]:
    """A picture in every format that is read."""
    picture = PIL.Image.effect_noise((24, 20), 90).convert("RGB")
    found = [encode(), encode(encoding="JPEG"), encode(encoding="WEBP")]
    forms = [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16")]
    forms += [("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("BMP", "RGB")]
    forms += [("WEBP", "RGBA")]
    for form, mode in forms:
        buffer = io.BytesIO()
        converted = picture.convert("I").convert(mode) if ";" in mode else None
        (converted or picture.convert(mode)).save(buffer, form)
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture.save(buffer, "JPEG", exif=exif, progressive=True)
    return [*found, buffer.getvalue()]


ENTRIES = {
    "a.png": {"p": PROMPTS[0], "se": 1, "c": 7.0, "st": 50, "sa": "k_lms"},
    "b.png": {"p": PROMPTS[1], "se": 2, "c": 7.5, "st": 50, "sa": "k_lms"},
}


def _zip(members, compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@functools.cache
def archives() -> list[bytes]:
    """Parts of DiffusionDB, compressed in each way."""
    members = {name: encode((20, 20)) for name in ENTRIES}
    members["part-000001.json"] = json.dumps(ENTRIES).encode()
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    kinds += (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    return [_zip(members, kind) for kind in kinds]


def make_archive(chance: random.Random, seed: bytes) -> bytes:
    """Damages an archive, or what is in a sound one."""
    if chance.random() < 0.5:
        return damage(chance, seed)
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    *names, notes = members
    members[notes] = make_json(chance, members[notes])
    name = chance.choice(names)
    members[name] = chance.choice((damage(chance, members[name]), bytes(2**22), b""))
    odd = ["../../up.png", "/root.png", "C:\\x.png", "a/b.png", "\u202e.png", ".png"]
    odd += ["x" * 300 + ".png", "part.json"]
    members[chance.choice(odd)] = members[name]
    compression = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    return _zip(members, compression)


@functools.cache
def parquets() -> list[bytes]:
    """Metadata as DiffusionDB has it, and of wrong types."""
    rows = [make_row(f"{i}.png", p) for i, p in enumerate(PROMPTS)]
    frame = pd.DataFrame(rows).astype(TYPES)
    wrong = [
        frame.assign(prompt=[prompt.encode() for prompt in PROMPTS]),
        frame.assign(prompt=[1, 2, 3]),
        frame.assign(image_name=[None, "b", "c"]),
        frame.assign(step=["a", "b", "c"]),
        frame.assign(width=[[1], [2], []]),
        frame.assign(cfg=[float("nan"), float("inf"), -1.0]),
        frame.assign(part_id=["1", "2", "3"]),
        frame.set_index("image_name"),
        frame.iloc[:0],
        frame.drop(columns="prompt"),
    ]
    found = []
    for each in (frame, *wrong):
        buffer = io.BytesIO()
        each.to_parquet(buffer)
        found.append(buffer.getvalue())
    return found


def make_parquet(chance: random.Random, seed: bytes) -> bytes:
    """Sometimes only the wrong types, not damaged besides."""
    return seed if chance.random() < 0.05 else damage(chance, seed)


def csv_bytes(*rows) -> bytes:
    """A CSV file of rows."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def submission_rows():
    """Two images of a submission."""
    return [f"{name}_{e},0.{e}" for name in ("a", "b") for e in range(384)]


@functools.cache
def shards() -> list[bytes]:
    """Two records."""
    items = [
        records.Record(f"{i}.png", encode((8, 8), encoding="JPEG"), p, p.split())
        for i, p in enumerate(PROMPTS[:2])
    ]
    return [_tfrecord(map(records.serialise, items))]


def _tfrecord(contents) -> bytes:
    path = pathlib.Path(tf.io.gfile.join(_scratch(), "x.tfrecord"))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return path.read_bytes()


@functools.cache
def _scratch() -> str:
    return tempfile.mkdtemp(prefix="tf_prompt-fuzz-")


def make_shard(chance: random.Random, seed: bytes) -> bytes:
    """Damages a shard, or a record whose checksum is right."""
    if chance.random() < 0.5:
        return damage(chance, seed)
    example = records.serialise(
        records.Record("a.png", encoded_images()[1], PROMPTS[0], ["a"])
    )
    return _tfrecord([damage(chance, example)])


def configs() -> list[bytes]:
    """Options of a run, with what else `config.json` has."""
    saved = dataclasses.asdict(FitConfig(set=("num_layers=2",)))
    return [json.dumps({**saved, "package_version": "1"}).encode()]


def metrics_files() -> list[bytes]:
    """What evaluate writes."""
    score = {"score": 1.0, "low": 0.5, "high": 1.5, "signature": "s"}
    health = dict.fromkeys(("unique_ratio", "end_rate", "length_ratio"), 0.5)
    content = {"examples": 3, "metrics": {"bleu": score, "cosine": score}}
    content |= {"baselines": {"most_common": {"bleu": score}}, "health": health}
    return [json.dumps(content).encode()]


def predictions_files() -> list[bytes]:
    """Three rows of an evaluation."""
    rows = [(f"{i}.png", p, p, "-0.5", "True", p) for i, p in enumerate(PROMPTS)]
    return [csv_bytes(prediction_log.COLUMNS, *rows)]


@functools.cache
def npy_files() -> list[bytes]:
    """A sound array, and one of NaN."""
    found = []
    for array in (np.eye(4, dtype=np.float32), np.full((4, 4), np.nan, np.float16)):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        found.append(buffer.getvalue())
    return found


def stats_files() -> list[bytes]:
    """Stats of a part without rows."""
    part = parts.Part(0, "p.zip", 1, None, opener=None)
    content = {"part": "p.zip", "size": 1, **tally.Tally().as_json()}
    content["fingerprint"] = convert.fingerprint(part, CONVERSION)
    return [json.dumps(content).encode()]


@functools.cache
def image_tables() -> list[bytes]:
    """Parquet files with images, plain and as Hugging Face has them."""
    images = encoded_images()[:2]
    structs = [{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(images)]
    found = []
    for column in (images, structs):
        buffer = io.BytesIO()
        table = pyarrow.table({"image": column, "prompt": PROMPTS[:2]})
        pyarrow.parquet.write_table(table, buffer)
        found.append(buffer.getvalue())
    return found


def tars() -> list[bytes]:
    """A sample with a text, and one with JSON."""
    buffer = io.BytesIO()
    members = {"a.png": encode(), "a.txt": PROMPTS[0].encode(), "b.png": encode()}
    members["b.json"] = json.dumps({"caption": PROMPTS[1], "steps": 20}).encode()
    with tarfile.open(fileobj=buffer, mode="w", bufsize=512) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return [buffer.getvalue()]


def lines(*lines) -> Callable[[], list[bytes]]:
    """Makes a text file of lines."""
    return lambda: ["\n".join([*lines, ""]).encode()]


def text_seeds() -> list[bytes]:
    """Prompts, and what is odd in them."""
    joined = ", ".join(PROMPTS).encode()
    return [joined, *TOKENS, ("(masterpiece:1.2) " * 50).encode(), b"'\"`." * 500]
