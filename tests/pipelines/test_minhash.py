"""Groups of near-duplicates, and that none leaks into another split."""

import itertools
import json
import random

import numpy as np
import pytest

from pipelines import minhash
from pipelines.groups import join_pairs
from pipelines.word_sets import WordSets
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
    groups = minhash.group_near_duplicates([*chain, "x y z", ""], 0.8)
    assert groups == dict.fromkeys(chain, "a b c d")


def test_order_of_words_does_not_matter():
    assert len(minhash.group_near_duplicates(["a red fox", "fox a red"], 1.0)) == 2


def test_nothing_alike_gives_no_group():
    assert minhash.group_near_duplicates(["a b", "c d", "a c"], 0.7) == {}


def test_no_pair_above_the_limit_is_in_two_groups():
    rng = random.Random(0)
    prompts = {" ".join(rng.sample(WORDS, rng.randint(3, 9))) for _ in range(300)}
    groups = minhash.group_near_duplicates(sorted(prompts), 0.7)
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


def test_source_without_metadata_is_grouped_too(source_2m, tmp_path):
    (source_2m / "metadata.parquet").unlink()
    flags = ("--group-near-duplicates", "--near-duplicate-jaccard", "0.5")
    assert run(source_2m, tmp_path / "out", *flags) == 0
    # All its prompts are "château number" and a name.
    assert sum(map(bool, read_all(tmp_path / "out").values())) == 1


@pytest.mark.parametrize("limit", [0.3, 0.4, 0.55, 0.7, 0.9])
def test_groups_are_those_of_comparing_all_pairs(limit):
    draw = random.Random(1)
    prompts = sorted(
        {" ".join(draw.sample(WORDS, draw.randint(2, 9))) for _ in range(150)}
    )
    links = [
        pair for pair in itertools.combinations(prompts, 2) if jaccard(*pair) >= limit
    ]
    assert minhash.group_near_duplicates(prompts, limit) == join_pairs(links)


def test_many_equal_sets_take_no_square_of_time():
    """Orders of the same words: every pair is one."""
    draw = random.Random(0)
    prompts = {" ".join(draw.sample(WORDS, len(WORDS))) for _ in range(3000)}
    assert len(set(minhash.group_near_duplicates(prompts, 0.7).values())) == 1


def test_no_possible_pair_is_passed_over():
    """The bound on what two sets can share is never below what they share."""
    draw = random.Random(2)
    words = [f"w{n}" for n in range(400)]
    prompts = [
        " ".join(draw.sample(words[:60], draw.randint(1, 40))) for _ in range(60)
    ]
    sets = WordSets(prompts)
    bitmaps = sets.take_bitmaps(np.arange(len(prompts)))
    first, second = np.triu_indices(len(prompts), 1)
    for limit in (0.2, 0.5, 0.9):
        may_share = bitmaps.may_share(first, second, limit)
        for i, j, may in zip(first, second, may_share, strict=True):
            assert sets.similarity(i, j) == jaccard(prompts[i], prompts[j])
            assert may or sets.similarity(i, j) < limit


def test_threads_do_not_change_the_groups(monkeypatch):
    # Else no more threads than cores.
    monkeypatch.setattr(minhash.os, "cpu_count", lambda: 4)
    draw = random.Random(3)
    words = [f"w{n}" for n in range(60)]
    prompts = {" ".join(draw.sample(words, draw.randint(3, 9))) for _ in range(2000)}
    one = minhash.group_near_duplicates(prompts, 0.4, 1)
    assert 1 < len(set(one.values())) < len(one) < len(prompts)
    assert minhash.group_near_duplicates(prompts, 0.4, 4) == one
