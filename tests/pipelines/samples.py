"""A small sample of every layout, made from its public description."""

import io
import json
import tarfile

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pyarrow
import pyarrow.parquet

from tests.pipelines.conftest import (
    encode_pillow,
    make_row,
    write_csv,
    write_metadata,
    write_zip,
)

PROMPTS = (
    "a red fox in the snow",
    "a blue tower at dawn",
    "an old mill by the river",
    "a robot reading a book",
    "the green forest, oil painting",
    "a cat on a roof, watercolor",
    "a ship in a storm",
    "portrait of a king, highly detailed",
)


def picture(index: int, size=(40, 40)) -> PIL.Image.Image:
    """A picture unlike those of other numbers."""
    draw = np.random.default_rng(index)
    small = draw.integers(0, 255, (4, 4, 3), np.uint8)
    return PIL.Image.fromarray(small).resize(size, PIL.Image.Resampling.BICUBIC)


def encoded(index: int, encoding="PNG", size=(40, 40)) -> bytes:
    """That picture in a file."""
    return encode_pillow(picture(index, size), encoding)


def write_images(folder, ending=".png", encoding="PNG") -> list[str]:
    """Writes a picture a prompt; gives their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index}{ending}" for index in range(len(PROMPTS))]
    for index, name in enumerate(names):
        (folder / name).write_bytes(encoded(index, encoding))
    return names


def write_diffusiondb(root):
    """A part of 2M as `download.py -z` of poloclub/diffusiondb leaves it."""
    part = root / "images" / "part-000001"
    names = write_images(part)
    pairs = list(zip(names, PROMPTS, strict=True))
    entries = {
        n: {"p": p, "se": 1, "c": 7.0, "st": 50, "sa": "k_lms"} for n, p in pairs
    }
    (part / "part-000001.json").write_text(json.dumps(entries))
    write_metadata(root / "metadata.parquet", [make_row(n, p) for n, p in pairs])
    return root


def write_diffusiondb_zip(root):
    """A part of 2M as it is published."""
    members = {f"{i}.png": encoded(i) for i in range(len(PROMPTS))}
    rows = [make_row(f"{i}.png", p) for i, p in enumerate(PROMPTS)]
    write_zip(root / "images" / "part-000001.zip", members)
    write_metadata(root / "metadata.parquet", rows)
    return root


def write_kaggle(root):
    """JPEG files, and their names with the ending as ids."""
    names = write_images(root / "images", ".jpg", "JPEG")
    rows = [("imgId", "prompt"), *zip(names, PROMPTS, strict=True)]
    write_csv(root / "prompts.csv", rows)
    return root


def write_table_csv(root):
    """As `predict --csv` writes it: paths, and the row of a broken image."""
    names = write_images(root / "in")
    rows = [("path", "prompt", "score", "error")]
    rows += [(f"in/{n}", p, -1.0, "") for n, p in zip(names, PROMPTS, strict=True)]
    write_csv(root / "out.csv", [*rows, ("in/broken.png", "", "", "no image")])
    return root / "out.csv"


def write_jsonl(root):
    """As `predict --jsonl` writes it."""
    names = write_images(root / "in")
    rows = [
        {"path": f"in/{n}", "prompt": p, "score": -1.0, "embedded": None}
        for n, p in zip(names, PROMPTS, strict=True)
    ]
    rows.append({"path": "in/broken.png", "error": "no image"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "out.jsonl").write_text(lines)
    return root / "out.jsonl"


def write_imagefolder(root):
    """Two splits, as Hugging Face's `imagefolder` reads them."""
    for split, chosen in (("train", range(6)), ("test", range(6, 8))):
        write_images(root / split)
        lines = [{"file_name": f"{i}.png", "text": PROMPTS[i]} for i in chosen]
        for index in set(range(8)) - set(chosen):
            (root / split / f"{index}.png").unlink()
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / split / "metadata.jsonl").write_text(text)
    return root


def write_sidecar(root):
    """As kohya's trainer reads it: folders `10_name`, .txt or .caption."""
    names = write_images(root / "10_things", ".webp", "WEBP")
    for index, name in enumerate(names):
        ending = (".txt", ".caption")[index % 2]
        path = (root / "10_things" / name).with_suffix(ending)
        path.write_text(f"{PROMPTS[index]}\n", encoding="utf-8-sig")
    return root


def write_embedded(root):
    """Nested folders of what A1111 saves."""
    folder = root / "txt2img" / "2023-01-01"
    folder.mkdir(parents=True)
    for index, prompt in enumerate(PROMPTS):
        info = PIL.PngImagePlugin.PngInfo()
        steps = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 40x40"
        info.add_text("parameters", f"{prompt}\nNegative prompt: ugly\n{steps}")
        data = encode_pillow(picture(index), info=info)
        (folder / f"{index:05d}-5.png").write_bytes(data)
    return root


def write_parquet(root, per_file=4, per_group=2):
    """As `datasets` writes an image column: structs of bytes and path."""
    (root / "data").mkdir(parents=True)
    starts = range(0, len(PROMPTS), per_file)
    for number, start in enumerate(starts):
        chosen = range(start, start + per_file)
        table = pyarrow.table(
            {
                "image": [{"bytes": encoded(i), "path": f"{i}.png"} for i in chosen],
                "prompt": [PROMPTS[i] for i in chosen],
                "subject": ["a thing" for _ in chosen],
                "modifier10": [["oil painting", "dawn"] for _ in chosen],
                "seed": [str(i) for i in chosen],
            }
        )
        name = f"train-{number:05d}-of-{len(starts):05d}.parquet"
        pyarrow.parquet.write_table(
            table, root / "data" / name, row_group_size=per_group
        )
    return root


def write_tar(path, members: dict[str, bytes]):
    """Writes a tar, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def tar_members(chosen, as_json=False) -> dict[str, bytes]:
    """Samples of WebDataset: members of one key, one after the other."""
    members = {}
    for index in chosen:
        members[f"{index:09d}.jpg"] = encoded(index, "JPEG")
        if as_json:
            fields = {"caption": PROMPTS[index], "width": 40, "height": 40}
            members[f"{index:09d}.json"] = json.dumps(fields).encode()
        members[f"{index:09d}.txt"] = PROMPTS[index].encode()
    return members


def write_webdataset(root):
    """Two shards, one of them compressed."""
    write_tar(root / "train-000000.tar", tar_members(range(4)))
    write_tar(root / "train-000001.tar.gz", tar_members(range(4, 8)))
    return root


def write_img2dataset(root):
    """Tars, their metadata as parquet without images, and statistics."""
    for shard in range(2):
        chosen = range(4 * shard, 4 * shard + 4)
        write_tar(root / f"{shard:05d}.tar", tar_members(chosen, as_json=True))
        table = pyarrow.table(
            {"caption": [PROMPTS[i] for i in chosen], "key": ["0"] * 4}
        )
        pyarrow.parquet.write_table(table, root / f"{shard:05d}.parquet")
        (root / f"{shard:05d}_stats.json").write_text('{"successes": 4}')
    return root


# Layout, and what writes a sample of it.
SAMPLES = {
    "diffusiondb": write_diffusiondb,
    "kaggle": write_kaggle,
    "csv": write_table_csv,
    "jsonl": write_jsonl,
    "imagefolder": write_imagefolder,
    "img2dataset": write_img2dataset,
    "webdataset": write_webdataset,
    "parquet": write_parquet,
    "sidecar": write_sidecar,
    "embedded": write_embedded,
}
