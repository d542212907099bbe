"""The list of commands, and the flags of each under their titles."""

import dataclasses
import importlib
import subprocess
import sys

import pytest

from tests import checks
from tf_prompt import fit, predict
from tf_prompt.__main__ import VERBS, main
from tf_prompt.options import group_options


def test_the_commands_are_listed(capsys):
    assert main([]) == main(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n  {verb} " in listed
        name = "tf_prompt.demo.__main__" if verb == "demo" else f"tf_prompt.{verb}"
        assert callable(importlib.import_module(name).main)


def test_a_verb_gets_the_arguments_behind_it(capsys):
    assert main(["predict", "--run-dir", "nowhere", "x.png"]) == 2
    assert capsys.readouterr().err.startswith("predict: error: ")
    assert checks.exit_code(main, ["fit", "--epochs", "-1"]) == 2
    assert "fit: error: epochs must not be negative" in capsys.readouterr().err


def test_an_unknown_verb_is_one_line(capsys):
    assert main(["paint"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tf-prompt: error: VERB must be one of fit, predict")
    assert line.endswith("Received: paint")


@pytest.mark.parametrize("verb", ["fit", "predict", "evaluate", "interrogate"])
def test_help_has_groups_and_ends_with_examples(verb, capsys):
    module = importlib.import_module(f"tf_prompt.{verb}")
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    shown = capsys.readouterr().out
    ending = shown.rpartition("\nexamples:\n")[2].splitlines()
    assert len(ending) == 2 and all(f"tf_prompt.{verb}" in line for line in ending)


def test_every_flag_stands_in_one_group():
    for config_class in (fit.FitOptions, predict.PredictConfig):
        groups = group_options(config_class)
        assert "other options" not in groups
        names = [field.name for fields in groups.values() for field in fields]
        expected = [field.name for field in dataclasses.fields(config_class)]
        assert sorted(names) == sorted(expected)
        assert all(groups.values())


def test_the_list_waits_for_nothing():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tf_prompt"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "fit" in done.stdout
    assert "tensorflow" not in done.stderr and "numpy" not in done.stderr
