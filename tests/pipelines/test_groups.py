"""One image with several prompts lies in one split, with all that these link."""

import itertools
import os

import pytest

from pipelines import groups, sources
from pipelines.layouts import loose
from tests.pipelines.conftest import encode, plan, write_csv
from tests.pipelines.test_convert import read_all
from tests.pipelines.test_write_records import run
from tf_prompt.data.split import split_of
from tf_prompt.data.text import split_words

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")
# Train and validation, by their hashes.
PROMPTS = ("a red cat", "a blue dog")


def write_source(tmp_path, rows, name="my.csv"):
    for file, _ in rows:
        if not os.path.lexists(tmp_path / file):
            (tmp_path / file).write_bytes(encode())
    write_csv(tmp_path / name, [("file", "prompt"), *rows])
    return tmp_path / name


def splits_of(output):
    return {
        (record["image_id"].decode(), record["prompt"].decode()): name
        for name, found in read_all(output).items()
        for record in found
    }


def test_the_prompts_are_of_two_splits_by_themselves():
    assert [split_of(split_words(p)) for p in PROMPTS] == ["train", "validation"]


def test_links_join_over_any_number_of_steps():
    pairs = [("b", "c"), ("x", "y"), ("c", "a"), ("z", "z")]
    assert groups.join_pairs(pairs) == {**dict.fromkeys("abc", "a"), "x": "x", "y": "x"}
    for order in itertools.permutations(pairs):
        assert groups.join_pairs(order) == groups.join_pairs(pairs)


@pytest.mark.parametrize("other", ["a.png", "./a.png", "link.png"])
def test_an_image_with_two_prompts_lies_in_one_split(tmp_path, other, monkeypatch):
    # Rows of one image may be in two parts.
    monkeypatch.setattr(loose, "PART_SIZE", 2)
    (tmp_path / "link.png").symlink_to("a.png")
    rows = [("a.png", PROMPTS[0]), ("b.png", "a mill"), (other, PROMPTS[1])]
    # This one's own prompt is that of the others, to the text rule.
    rows.append(("c.png", PROMPTS[1].upper() + "!"))
    path = write_source(tmp_path, rows)
    assert "each kept in one split: 1" in sources.open_source(path).notes[0]
    run(path, tmp_path / "out")
    found = splits_of(tmp_path / "out")
    assert len(found) == 4
    of_group = {found[row] for row in rows if row[1] != "a mill"}
    # By the first of the group in alphabetical order.
    assert of_group == {split_of(["a", "blue", "dog"])}


@pytest.mark.parametrize("prompt", ["A red cat, 8", "123"], ids=["spelling", "none"])
def test_one_prompt_for_the_text_rule_is_no_group(tmp_path, prompt):
    rows = [("a.png", PROMPTS[0]), ("a.png", prompt), ("b.png", PROMPTS[1])]
    (part,) = plan(write_source(tmp_path, rows)).parts()
    assert "group" not in part.read_rows()


def test_one_prompt_twice_needs_no_planning(tmp_path):
    rows = [("a.png", PROMPTS[0])] * 2
    source = sources.open_source(write_source(tmp_path, rows))
    (part,) = source.parts()
    # Another column would be another fingerprint: finished parts would be redone.
    assert list(part.rows) == ["image_name", "prompt"] and not source.notes


def test_images_and_near_duplicates_are_grouped_together(tmp_path):
    near = f"{PROMPTS[1]} outside"
    rows = [("a.png", PROMPTS[0]), ("a.png", PROMPTS[1]), ("b.png", near)]
    path = write_source(tmp_path, [*rows, ("c.png", "the sea")])
    (part,) = plan(path, group_near_duplicates=True).parts()
    assert list(part.read_rows()["group"]) == [*["a blue dog"] * 3, ""]
