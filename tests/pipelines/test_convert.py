import dataclasses
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from pipelines import convert, folder, sources
from pipelines.options import FILTERS, Conversion, WriteOptions
from tests.pipelines.conftest import (
    encode,
    encode_pillow,
    make_row,
    write_csv,
    write_source,
    write_zip,
)
from tf_prompt.data import records
from tf_prompt.data.split import SPLITS
from tf_prompt.files import MANIFEST

SMALL = Conversion(image_size=16)


def convert_all(source, output, conversion=SMALL):
    opened = sources.open_source(source)
    flags = {**dataclasses.asdict(conversion), "source": str(source)}
    config = WriteOptions(**flags, output=str(output))
    folder.prepare_folder(opened, config, prog="test")
    return [convert.convert_part(p, output, conversion) for p in opened.parts()]


def read_all(output):
    """Every record of every shard, by split."""
    found = {}
    for split in SPLITS:
        shards = sorted(map(str, output.glob(f"{split}-*.tfrecord")))
        dataset = tf.data.TFRecordDataset(shards).map(records.parse)
        found[split] = list(dataset.as_numpy_iterator())
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_hold_the_image_and_the_words(source_2m, tmp_path):
    stats = convert_all(source_2m, tmp_path / "out")
    found = read_all(tmp_path / "out")
    assert sum(len(of_split) for of_split in found.values()) == 18
    assert [part["rows"] for part in stats] == [6, 6, 6]
    for split in SPLITS:
        assert len(found[split]) == sum(part["examples"][split] for part in stats)
    record = next(r for r in found["train"] if r["image_id"] == b"2-c.png")
    assert record["prompt"].decode() == "château number y-c.png"
    assert [w.decode() for w in record["words"]] == ["château", "number", "y-c.png"]
    image = tf.io.decode_jpeg(record["image"]).numpy()
    assert image.shape == (16, 16, 3)
    np.testing.assert_allclose(image[9:, 9:].mean((0, 1)), [255, 0, 0], atol=3)


def test_text_chunks_never_reach_a_record(source_2m, tmp_path):
    convert_all(source_2m, tmp_path / "out")
    assert b"number" in encode(prompt="château number x")
    for of_split in read_all(tmp_path / "out").values():
        for record in of_split:
            assert b"number" in record["prompt"]
            assert b"number" not in record["image"] and b"Dream" not in record["image"]


def test_each_filter_drops_its_rows_and_no_more(tmp_path):
    changes = {
        "kept": {},
        "wide": {"width": 41},
        "blurred": {"image_nsfw": 2.0},
        "cfg": {"cfg": -1.0},
        "step": {"step": 9},
    }
    names = [f"{name}.png" for name in changes]
    rows = [make_row(n, n, **c) for n, c in zip(names, changes.values(), strict=True)]
    source = write_source(tmp_path / "in", rows, {n: encode() for n in names})
    (stats,) = convert_all(source, tmp_path / "out")
    assert stats["dropped"] == dict.fromkeys(FILTERS, 1)
    assert not any(stats["rejected"].values())
    (record,) = sum(read_all(tmp_path / "out").values(), [])
    assert record["image_id"] == b"kept.png"
    off = Conversion(
        image_size=16, square=False, drop_blurred=False, min_cfg=-9, min_step=0
    )
    (stats,) = convert_all(source, tmp_path / "out", off)
    assert sum(stats["examples"].values()) == 5


def test_each_cause_of_rejection_is_counted(tmp_path):
    grey = PIL.Image.new("L", (40, 40), 99)
    members = {"good.png": encode(), "bad.png": b"\x89PNG no more", "empty.png": b""}
    members |= {"digits.png": encode(), "unlisted.png": encode()}
    members |= {"../unsafe.png": encode(), "/root.png": encode()}
    members |= {"big.png": encode((65, 64)), "grey.png": encode_pillow(grey)}
    names = [n.split("/")[-1] for n in members if n != "unlisted.png"]
    rows = [make_row(n, "123 !!" if n == "digits.png" else n) for n in names]
    rows.append(make_row("absent.png", "a prompt"))
    (stats,) = convert_all(
        write_source(tmp_path / "in", rows, members),
        tmp_path / "out",
        Conversion(image_size=16, max_pixels=64 * 64),
    )
    assert stats["rows"] == 10
    assert stats["rejected"] == {
        "unreadable_part": 0,
        "no_metadata_row": 1,
        "row_without_image": 1,
        "unsafe_member": 2,
        "too_many_pixels": 1,
        "undecodable_image": 2,
        "constant_image": 1,
        "no_words": 1,
    }
    assert stats["rejected_examples"] == {
        "no_metadata_row": ["unlisted.png"],
        "row_without_image": ["absent.png"],
        "unsafe_member": ["unsafe.png", "root.png"],
        "no_words": ["digits.png"],
        "undecodable_image": ["bad.png", "empty.png"],
        "too_many_pixels": ["big.png"],
        "constant_image": ["grey.png"],
    }
    assert sum(stats["examples"].values()) == 1


def test_a_member_that_fails_its_checksum_is_one_rejection(source_2m, tmp_path):
    path = source_2m / "images" / "part-000001.zip"
    broken = bytearray(path.read_bytes())
    broken[60] ^= 0xFF
    path.write_bytes(broken)
    stats = convert_all(source_2m, tmp_path / "out")
    assert stats[0]["rejected_examples"] == {"undecodable_image": ["1-a.png"]}
    assert sum(stats[0]["examples"].values()) == 5


def test_a_broken_archive_does_not_lose_the_others(source_2m, tmp_path):
    path = source_2m / "images" / "part-000002.zip"
    path.write_bytes(path.read_bytes()[:-30])
    stats = convert_all(source_2m, tmp_path / "out")
    assert [sum(part["examples"].values()) for part in stats] == [6, 0, 6]
    assert stats[1]["rejected"]["unreadable_part"] == 6
    assert stats[1]["rejected_examples"] == {"unreadable_part": [stats[1]["part"]]}


def test_without_metadata_the_image_itself_is_measured(tmp_path):
    entries = {
        name: {"p": f"a {name}", "c": 7.0, "st": 50}
        for name in ("square.png", "wide.png", "bad.png")
    }
    entries["few.png"] = {"p": "few", "c": 7.0, "st": 5}
    entries["empty.png"] = {"p": None, "c": 7.0, "st": 50}
    members = {name: encode() for name in entries}
    members |= {"wide.png": encode((50, 40)), "bad.png": b"bad", "new.png": encode()}
    members["part-000001.json"] = json.dumps(entries).encode()
    source = write_source(tmp_path / "in", [], members, metadata=False)
    (stats,) = convert_all(source, tmp_path / "out")
    assert stats["dropped"] == {
        "not_square": 1,
        "blurred": 0,
        "low_cfg": 0,
        "few_steps": 1,
    }
    assert stats["rejected_examples"] == {
        "no_metadata_row": ["new.png"],
        "undecodable_image": ["bad.png"],
        "no_words": ["empty.png"],
    }
    off = Conversion(image_size=16, square=False)
    (stats,) = convert_all(source, tmp_path / "out", off)
    assert sum(stats["examples"].values()) == 2


def test_other_sources_are_cropped_not_filtered(tmp_path):
    (tmp_path / "wide.webp").write_bytes(encode((64, 40), encoding="WEBP"))
    write_csv(tmp_path / "my.csv", [("file", "prompt"), ("wide.webp", "wide sea")])
    (stats,) = convert_all(tmp_path / "my.csv", tmp_path / "out")
    assert sum(stats["examples"].values()) == stats["rows"] == 1


def test_kaggle_image_without_a_row_is_counted(source_kaggle, tmp_path):
    (source_kaggle / "images" / "3c.png").write_bytes(encode())
    (stats,) = convert_all(source_kaggle, tmp_path / "out")
    assert stats["rejected_examples"] == {"no_metadata_row": ["3c.png"]}


def test_no_normalised_prompt_lies_in_two_splits(tmp_path):
    prompts = [f"the {a} {b}" for a in "abcdefghij" for b in "abcdefghijkl"]
    variants = ["{}", "{}!", "  {} 42", "{}, 8k"]
    rows = [
        make_row(f"{v}-{i}.png", variants[v].format(prompt.upper() if v else prompt))
        for v in range(len(variants))
        for i, prompt in enumerate(prompts)
    ]
    image = encode((8, 8))
    source = write_source(tmp_path / "in", rows, {r["image_name"]: image for r in rows})
    (stats,) = convert_all(source, tmp_path / "out")
    found = {
        split: {tuple(record["words"]) for record in of_split}
        for split, of_split in read_all(tmp_path / "out").items()
    }
    assert all(found.values()) and sum(map(len, found.values())) == len(prompts)
    assert len(set().union(*found.values())) == len(prompts)
    assert sum(stats["examples"].values()) == len(rows)


def test_same_input_same_bytes(source_2m, tmp_path):
    convert_all(source_2m, tmp_path / "a")
    convert_all(source_2m, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_done_parts_are_known_by_their_fingerprint(source_2m, tmp_path):
    out = tmp_path / "out"
    stats = convert_all(source_2m, out)
    parts = list(sources.open_source(source_2m).parts())
    assert [convert.read_done(part, out, SMALL) for part in parts] == stats
    assert convert.read_done(parts[0], out, Conversion(image_size=17)) is None
    records.shard_path(out, "train", 0).unlink()
    assert convert.read_done(parts[0], out, SMALL) is None
    convert.stats_path(out, 1).write_text("{")
    assert convert.read_done(parts[1], out, SMALL) is None
    rows = parts[2].rows.assign(prompt="another")
    changed = dataclasses.replace(parts[2], rows=rows)
    assert convert.read_done(changed, out, SMALL) is None
    assert convert.read_done(parts[2], out, SMALL) == stats[2]


def test_a_part_that_was_unreadable_is_tried_again(tmp_path):
    rows = [make_row("a.png", "a prompt")]
    source = write_source(tmp_path / "in", rows, {"a.png": encode()})
    (source / "images" / "part-000001.zip").write_bytes(b"PK")
    convert_all(source, tmp_path / "out")
    (part,) = sources.open_source(source).parts()
    assert convert.read_done(part, tmp_path / "out", SMALL) is None


def test_redoing_a_part_leaves_no_old_shard(tmp_path):
    rows = [make_row("a.png", "a prompt")]
    source = write_source(tmp_path / "in", rows, {"a.png": encode()})
    convert_all(source, tmp_path / "out")
    for split in SPLITS:
        records.shard_path(tmp_path / "out", split, 0).write_bytes(b"old")
    (stats,) = convert_all(source, tmp_path / "out")
    splits = [split for split, count in stats["examples"].items() if count]
    names = {f"{splits[0]}-00000.tfrecord", "part-00000.json", MANIFEST}
    assert set(contents(tmp_path / "out")) == names


def test_prepare_folder_removes_only_what_would_mislead(source_2m, tmp_path):
    out = tmp_path / "out"
    config = WriteOptions(source=str(source_2m), output=str(out))
    folder.prepare_folder(sources.open_source(source_2m), config, prog="test")
    keep = ["part-00001.json", "train-00001.tfrecord"]
    remove = ["part-00002.json", "train-00002.tfrecord", "stats.json", "features.json"]
    remove += ["train-00001.tfrecord.77.part", "part-00001.json.77.part"]
    remove += ["rejects.csv.part", f"{MANIFEST}.77.part"]
    for name in keep + remove:
        (out / name).touch()
    (source_2m / "images" / "part-000003.zip").unlink()
    folder.prepare_folder(sources.open_source(source_2m), config, prog="test")
    assert sorted(contents(out)) == sorted([*keep, MANIFEST])
    listed = json.loads((out / MANIFEST).read_text())["write_records"]["files"]
    assert "part-00001.json" in listed and "part-00002.json" not in listed


def test_shards_that_cannot_be_written_are_an_error(source_2m, tmp_path):
    part = next(sources.open_source(source_2m).parts())
    with pytest.raises(OSError, match="cannot write shards"):
        convert.convert_part(part, tmp_path / "missing", SMALL)


def test_progress_covers_the_part(source_2m, tmp_path):
    part = next(sources.open_source(source_2m).parts())
    shares = []
    convert.convert_part(part, tmp_path, SMALL, shares.append)
    assert len(shares) == 6 and sum(shares) == pytest.approx(1)


def test_an_encrypted_member_is_one_rejection(tmp_path):
    rows = [make_row("a.png", "a prompt"), make_row("b.png", "b prompt")]
    source = write_source(tmp_path / "in", rows, {})
    path = source / "images" / "part-000001.zip"
    write_zip(path, {"a.png": encode(), "b.png": encode()})
    data = bytearray(path.read_bytes())
    # General purpose flag, bit 0: encrypted. In the first central directory entry.
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    path.write_bytes(data)
    (stats,) = convert_all(source, tmp_path / "out")
    assert stats["rejected_examples"] == {"undecodable_image": ["a.png"]}


@pytest.mark.parametrize(
    "change",
    [
        {"dropped": {"blurred": "1"}},
        {"rejected": {"unreadable_part": 0, "no_words": -1}},
        {"rejected_examples": []},
        {"rejected_examples": {"no_words": [1]}},
        {"examples": {"train": None, "validation": 0, "test": 0}},
    ],
    ids=str,
)
def test_damaged_stats_are_written_again(source_2m, tmp_path, change):
    output = tmp_path / "out"
    convert_all(source_2m, output)
    (part, *_) = sources.open_source(source_2m).parts()
    stats = convert.read_done(part, output, SMALL)
    assert stats is not None
    path = convert.stats_path(output, part.index)
    path.write_text(json.dumps({**stats, **change}))
    assert convert.read_done(part, output, SMALL) is None
