"""Damaged files of every kind: each ends in a result or in one line of ours."""

import random
import zlib

import pytest

from tests.fuzz.outcomes import COUNTS, outcome_of, peak_megabytes
from tests.fuzz.targets import TARGETS

NUM_INPUTS, NUM_INPUTS_LONG = 5_000, 100_000
# Beyond what the process holds before; a bomb of these tests would take 4 GB.
MAX_GROWTH = 1_000


def try_inputs(name, num_inputs, folder, start=0):
    """Tries damaged files of one kind; the same numbers give the same files."""
    target = TARGETS[name]
    path = folder / target.file
    path.parent.mkdir(exist_ok=True)
    seeds = target.seeds()
    found = set()
    for number in range(start, start + num_inputs):
        chance = random.Random(zlib.crc32(f"{name} {number}".encode()))
        path.write_bytes(target.make(chance, chance.choice(seeds)))
        try:
            found.add(outcome_of(name, target.read, path))
        except AssertionError as error:
            error.add_note(f"input {number} of {name}: {path.read_bytes()[:400]!r}")
            raise
    return found


def share_of(name, total):
    shares = {name: target.share for name, target in TARGETS.items()}
    return max(4, -(-int(total * shares[name]) // int(sum(shares.values()))))


@pytest.mark.parametrize("name", TARGETS)
def test_sound_files_are_read(name, tmp_path):
    """Otherwise the other tests would show nothing."""
    target = TARGETS[name]
    path = tmp_path / target.file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(target.seeds()[0])
    assert outcome_of(name, target.read, path) == "result"


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name, tmp_path):
    try_inputs(name, share_of(name, NUM_INPUTS), tmp_path)


def test_enough_inputs():
    """Counts what the tests above tried; alone it would count nothing."""
    wanted = sum(share_of(name, NUM_INPUTS) for name in TARGETS)
    assert wanted >= NUM_INPUTS


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(name, tmp_path):
    before, counted = peak_megabytes(), COUNTS[name]
    num_inputs = share_of(name, NUM_INPUTS_LONG)
    found = try_inputs(name, num_inputs, tmp_path, start=1_000_000)
    assert COUNTS[name] - counted == num_inputs
    assert "result" in found
    assert peak_megabytes() - before < MAX_GROWTH
