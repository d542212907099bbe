"""Families, caps, look-alikes and splits of a source's own."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines import image_hashes
from tests.pipelines.conftest import encode_pillow, write_csv
from tests.pipelines.samples import PROMPTS, picture
from tests.pipelines.test_advice import warnings_of
from tests.pipelines.test_convert import read_all
from tests.pipelines.test_write_records import errors_of, run

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")
# Two families of three and one of one; of each the neighbours share 4 of 6 words.
FAMILIES = ["a red fox in snow", "a red fox in fog", "a red fox by fog"]
FAMILIES += ["one old mill at dawn", "one old mill at dusk", "one old mill at night"]
FAMILIES += ["robots"]
NAMES = ("prompt", "family")


def write_table(folder, prompts, pictures=None, **columns):
    """A CSV of images that differ; columns hold a value a row."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index}.png" for index in range(len(prompts))]
    for index, name in enumerate(names):
        image = pictures[index] if pictures else picture(index)
        (folder / name).write_bytes(encode_pillow(image))
    rows = [("file", "prompt", *columns)]
    rows += zip(names, prompts, *columns.values(), strict=True)
    write_csv(folder / "my.csv", rows)
    return folder / "my.csv"


def stats_of(output):
    return json.loads((output / "stats.json").read_text())


def families_of(output, label="family"):
    """Family, or another label, and split of each prompt, read from the shards."""
    feature = {name: tf.io.FixedLenFeature((), tf.string) for name in ("prompt", label)}
    found = {}
    for path in sorted(output.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            values = tf.io.parse_single_example(record, feature)
            prompt, family = (values[n].numpy().decode() for n in feature)
            found[prompt] = family, path.name.split("-")[0]
    return found


def test_families_lie_in_one_split_and_records_name_them(tmp_path, capsys):
    source = write_table(tmp_path / "in", FAMILIES)
    assert run(source, tmp_path / "out", "--group-families", "0.5") == 0
    found = families_of(tmp_path / "out")
    for start in (0, 3):
        assert len({found[prompt] for prompt in FAMILIES[start : start + 3]}) == 1
    assert len({family for family, _ in found.values()}) == 3
    stats = stats_of(tmp_path / "out")
    assert stats["families"] == {"number": 3, "of_one": 1, "largest": [3, 3, 1]}
    assert stats["group_families"] == 0.5
    assert "the largest have 3, 3, 1 records" in capsys.readouterr().out
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert "family" in builder.info.features


def test_caps_keep_the_first_of_a_prompt_and_of_a_family(tmp_path, capsys):
    prompts = [*FAMILIES[:1] * 3, *FAMILIES[1:]]
    source = write_table(tmp_path / "in", prompts)
    flags = ("--group-families", "0.5", "--max-per-family", "3")
    assert run(source, tmp_path / "out", *flags, "--max-per-prompt", "2") == 0
    stats = stats_of(tmp_path / "out")
    assert stats["dropped"]["over_prompt"] == stats["dropped"]["over_family"] == 1
    assert sum(stats["examples"].values()) == 7
    assert stats["families"]["largest"] == [3, 3, 1]


def test_a_row_that_a_filter_drops_counts_for_no_cap(tmp_path):
    steps = [5, 50, 50]
    source = write_table(tmp_path / "in", ["a red fox"] * 3, step=steps)
    assert run(source, tmp_path / "out", "--max-per-prompt", "1") == 0
    assert stats_of(tmp_path / "out")["dropped"]["few_steps"] == 1
    (record,) = sum(read_all(tmp_path / "out").values(), [])
    assert record["image_id"] == b"1.png"


def test_caps_of_families_need_families(tmp_path, capsys):
    source = write_table(tmp_path / "in", FAMILIES)
    with pytest.raises(SystemExit):
        run(source, tmp_path / "out", "--max-per-family", "3")
    assert "give group_families too" in errors_of(capsys)[0]


def test_own_splits_are_kept_and_their_leaks_counted(tmp_path, capsys):
    prompts = [*PROMPTS[:5], PROMPTS[0].upper(), PROMPTS[6]]
    splits = ["train"] * 4 + ["val", "Test", "test"]
    source = write_table(tmp_path / "in", prompts, part=splits)
    out = tmp_path / "out"
    assert run(source, out, "--split-column", "part") == 0
    stats = stats_of(out)
    assert stats["examples"] == {"train": 4, "validation": 1, "test": 2}
    assert stats["leaks"] == {"prompts": 1, "records": {"validation": 0, "test": 1}}
    (line,) = [line for line in warnings_of(capsys) if "several" in line]
    assert "1 of 2 records of test have one that was seen before" in line
    assert run(source, out, "--force") == 0
    assert "leaks" not in stats_of(out)


def test_records_name_their_source(tmp_path):
    source = write_table(tmp_path / "in", PROMPTS[:2], site=["one", "two"])
    assert run(source, tmp_path / "out", "--source-column", "site") == 0
    found = families_of(tmp_path / "out", "source")
    assert [found[prompt][0] for prompt in PROMPTS[:2]] == ["one", "two"]
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert "source" in builder.info.features


def test_an_own_split_that_is_empty_is_said(tmp_path, capsys):
    source = write_table(tmp_path / "in", PROMPTS[:2], split=["train", "test"])
    assert run(source, tmp_path / "out", "--split-column", "split") == 0
    (line,) = warnings_of(capsys)
    assert "validation is empty in the source's own splits" in line


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--split-column", "gone"), "must be a column of the source. Received: gone"),
        (("--split-column", "prompt"), "must hold train, validation, test"),
        (("--source-column", "gone"), "must be a column of the source. Received: gone"),
        (("--image-column", "gone"), "must have the columns gone,prompt"),
        (("--prompt-column", "gone"), "must have the columns file,gone"),
        (("--layout", "jsonl"), "must be objects, one per line"),
        (("--layout", "webdataset"), "source must be WebDataset tars"),
    ],
)
def test_what_a_source_lacks_is_one_line(tmp_path, capsys, flags, message):
    source = write_table(tmp_path / "in", PROMPTS[:2])
    assert run(source, tmp_path / "out", *flags) == 2
    (line,) = errors_of(capsys)
    assert message in line


def variations(index):
    """One picture as it is kept, and as others would keep it."""
    image = picture(index, (64, 64))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=60)
    return [image, PIL.Image.open(data), image.resize((48, 48))]


def test_images_that_look_the_same_lie_in_one_split(tmp_path):
    pytest.importorskip("imagehash")
    pictures = [p for index in range(6) for p in variations(index)]
    prompts = [f"{a} {b} {c}" for a in "xyz" for b in "pq" for c in "abc"]
    source = write_table(tmp_path / "in", prompts, pictures)
    flags = ("--validation", "0.3", "--test", "0.3")
    run(source, tmp_path / "plain", *flags)
    assert run(source, tmp_path / "out", *flags, "--group-near-duplicate-images") == 0
    splits = {"plain": {}, "out": {}}
    for name, found in splits.items():
        for split, records in read_all(tmp_path / name).items():
            for record in records:
                number = int(record["image_id"].decode().split(".")[0])
                found.setdefault(number // 3, set()).add(split)
    assert all(len(found) == 1 for found in splits["out"].values())
    assert any(len(found) > 1 for found in splits["plain"].values())
    assert stats_of(tmp_path / "out")["near_duplicate_image_bits"] == 4


@pytest.mark.parametrize("bits", [0, 1, 4, 9])
def test_hashes_are_joined_as_by_comparing_all_pairs(bits):
    draw = np.random.default_rng(bits)
    centres = draw.integers(0, 2**63, 12, np.uint64)
    flips = draw.integers(0, 64, (60, bits + 2), np.uint64)
    hashes = centres[draw.integers(0, 12, 60)]
    for column in flips.T:
        hashes = hashes ^ (np.uint64(1) << column)
    labels = image_hashes.group_hashes(hashes, bits)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= bits
    reach = near.copy()
    for _ in range(6):
        reach = reach @ reach
    np.testing.assert_array_equal(labels[:, None] == labels, reach)


def test_a_broken_image_has_no_hash():
    assert image_hashes.hash_image(b"broken") == 0
    assert image_hashes.hash_image(encode_pillow(picture(0)), max_pixels=100) == 0


def test_a_column_of_planning_is_known_to_a_restart(tmp_path):
    source = write_table(tmp_path / "in", FAMILIES)
    run(source, tmp_path / "out", "--group-families", "0.5")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*-0*")}
    run(source, tmp_path / "out", "--group-families", "0.5")
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*-0*")}
    assert after == before
    run(source, tmp_path / "out", "--group-families", "0.9")
    assert len({family for family, _ in families_of(tmp_path / "out").values()}) == 7


def test_names_of_families_do_not_change():
    """Evaluation compares them across runs and machines."""
    from pipelines.planning import name_family

    # BLAKE2b of 8 bytes, by b2sum -l 64.
    assert name_family("a red fox") == "38339ee77509a0e6"
