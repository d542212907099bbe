"""What an install without extras can do: no module waits for a package of an extra."""

import ast
import configparser
import os
import pathlib
import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.conftest import SMALL, draw_record

ROOT = pathlib.Path(__file__).parents[1]


def normalise(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def core():
    """Names of the distributions that an install of the core brings."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options"]["install_requires"].splitlines()
    waiting = [(Requirement(line), "") for line in lines if line and line[0] != "#"]
    found = set()
    while waiting:
        requirement, extra = waiting.pop()
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": extra}):
            continue
        name = normalise(requirement.name)
        wanted = {(name, extra) for extra in ("", *requirement.extras)}
        for _, extra in wanted - found:
            inner = metadata.requires(name) or []
            waiting += [(Requirement(text), extra) for text in inner]
        found |= wanted
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def others(core):
    """Modules that are installed, but not by the core."""
    owners = metadata.packages_distributions()
    return {
        module
        for module, names in owners.items()
        if not core & {normalise(name) for name in names} and module != "tf_prompt"
    }


def imports_of(path):
    """The modules whose import a file begins with."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def test_no_module_begins_with_an_extra(others):
    for path in (ROOT / "tf_prompt").rglob("*.py"):
        assert not others & set(imports_of(path)), path


_PROGRAM = """
import sys
others, shards, image, *settings = sys.argv[1:]
sys.modules.update(dict.fromkeys(others.split(",")))
from tf_prompt import evaluate, export, fit, predict
flags = ["--epochs", "1", "--batch-size", "16", "--max-words", "5", "--run-dir", "run"]
flags += [flag for pair in settings for flag in ("--set", pair)]
assert fit.main(["--preset", "lstm_tiny", "--data", shards, *flags]) == 0
assert predict.main(["--run-dir", "run", image]) == 0
assert evaluate.main(["--run-dir", "run", "--limit", "4"]) == 0
assert export.main(["--run-dir", "run", "--no-embed"]) == 0
"""


@pytest.mark.slow
def test_the_core_fits_predicts_evaluates_and_exports(others, tiny_shards, tmp_path):
    """In a process that can import nothing else."""
    (tmp_path / "a.jpg").write_bytes(draw_record("red", "left", 0).image)
    settings = (*SMALL, "units=16", "attention_units=8")
    names = ",".join(sorted(others - {"tests", "pipelines"}))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, names, str(tiny_shards), "a.jpg", *settings],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "training on" in done.stderr.splitlines()[0]
    assert 'not measured: BERTScore needs an extra: pip install "tf_prompt[eval]"' in (
        done.stdout
    )
    assert "no warm-up requests were written, because they need" in done.stderr
    assert (tmp_path / "saved_models" / "run" / "1" / "saved_model.pb").is_file()
