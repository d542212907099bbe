"""Groups of near-duplicates, and that none leaks into another split."""

import itertools
import json
import random

import pytest

from pipelines import split
from tests.pipelines.conftest import encode, make_row, write_source
from tests.pipelines.test_convert import read_all
from tests.pipelines.test_write_records import run

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")
WORDS = "fox mill dawn oil sea tower robot neon cat forest snow moon lake".split()


def jaccard(first: str, second: str) -> float:
    first, second = set(first.split()), set(second.split())
    return len(first & second) / len(first | second)


def test_neighbours_are_grouped_and_chains_too():
    # 4 of 5 words, 4 of 5 words; the ends of the chain share 3 of 5.
    chain = ["a b c d", "a b c d e", "b c d e"]
    groups = split.group_near_duplicates([*chain, "x y z", ""], 0.8)
    assert groups == dict.fromkeys(chain, "a b c d")


def test_order_of_words_does_not_matter():
    assert len(split.group_near_duplicates(["a red fox", "fox a red"], 1.0)) == 2


def test_nothing_alike_gives_no_group():
    assert split.group_near_duplicates(["a b", "c d", "a c"], 0.7) == {}


def test_no_pair_above_the_limit_is_in_two_groups():
    rng = random.Random(0)
    prompts = {" ".join(rng.sample(WORDS, rng.randint(3, 9))) for _ in range(300)}
    groups = split.group_near_duplicates(sorted(prompts), 0.7)
    for first, second in itertools.combinations(sorted(prompts), 2):
        if jaccard(first, second) >= 0.7:
            assert groups[first] == groups[second]


def test_no_near_duplicate_leaks_into_another_split(tmp_path):
    rng = random.Random(1)
    rows = []
    for scene in range(40):
        words = rng.sample(WORDS, 7)
        for version in range(3):
            prompt = " ".join([*words, f"style{chr(97 + version)}"])
            rows.append(make_row(f"{scene}-{version}.png", prompt))
    members = {row["image_name"]: encode() for row in rows}
    source = write_source(tmp_path / "in", rows, members)
    assert run(source, tmp_path / "plain") == 0
    assert count_leaks(tmp_path / "plain") > 0
    assert run(source, tmp_path / "out", "--group-near-duplicates") == 0
    assert count_leaks(tmp_path / "out") == 0
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["near_duplicate_jaccard"] == 0.7
    assert sum(stats["examples"].values()) == 120


def count_leaks(output) -> int:
    prompts = {
        name: {b" ".join(record["words"]).decode() for record in of_split}
        for name, of_split in read_all(output).items()
    }
    return sum(
        jaccard(first, second) >= 0.7
        for one, other in itertools.combinations(prompts.values(), 2)
        for first, second in itertools.product(one, other)
    )


def test_source_without_metadata_cannot_be_grouped(source_2m, tmp_path, capsys):
    (source_2m / "metadata.parquet").unlink()
    assert run(source_2m, tmp_path / "out", "--group-near-duplicates") == 2
    assert "group_near_duplicates needs the metadata" in capsys.readouterr().err
