"""Verbs are modules of a package; run as files, they say so."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
VERBS = ("beam", "download", "inspect", "write_records")


def run(argv, cwd):
    environment = {"PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=environment, capture_output=True
    )
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_is_run_as_a_file_says_how_to_run_it(verb, tmp_path):
    code, line = run([ROOT / "pipelines" / f"{verb}.py", "--help"], tmp_path)
    assert code == 2 and line.count("\n") == 1
    assert line.endswith(f"; cd {ROOT} && python -m pipelines.{verb}\n")


@pytest.mark.parametrize("module", ["write_records", "pipelines.write_records"])
def test_a_verb_that_is_run_in_its_own_folder_says_how_to_run_it(module):
    code, line = run(["-m", module, "--help"], ROOT / "pipelines")
    assert code == 2 and line.count("\n") == 1
    assert f"; cd {ROOT} && python -m pipelines." in line
