"""Inputs that coverage chooses, in a process of their own for each reader."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests.fuzz.outcomes import COUNTS

pytest.importorskip("atheris")
RUNS = 5_000
# Readers whose branches are Python of ours; others end in C++ after a line.
NAMES = ("archive", "csv", "submission", "config", "metrics", "journal", "prompt")


@pytest.mark.fuzz
@pytest.mark.parametrize("name", NAMES)
def test_no_input_that_coverage_finds_escapes(name):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", name, "--runs", str(RUNS)],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert int(executed[1]) >= RUNS
    COUNTS[f"guided {name}"] += int(executed[1])
