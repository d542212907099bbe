"""The list of commands, and the flags of each under their titles."""

import dataclasses
import importlib
import subprocess
import sys

import pytest

from tests import checks
from tf_prompt.__main__ import VERBS, main
from tf_prompt.options import group_options, parse_args

COMMANDS = [
    *(f"tf_prompt.{verb}" for verb in VERBS),
    *(f"pipelines.{verb}" for verb in ("download", "inspect", "write_records", "beam")),
]
each_command = pytest.mark.parametrize("name", COMMANDS)


def import_command(name):
    is_package = name == "tf_prompt.demo"
    return importlib.import_module(f"{name}.__main__" if is_package else name)


def test_the_commands_are_listed(capsys):
    assert main([]) == main(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n  {verb} " in listed
        assert callable(import_command(f"tf_prompt.{verb}").main)


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


@each_command
def test_help_has_groups_and_ends_with_examples(name, capsys):
    module = import_command(name)
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    shown = capsys.readouterr().out
    assert "\nother options:\n" not in shown
    ending = shown.rpartition("\nexamples:\n")[2].splitlines()
    assert ending == [f"  {example}" for example in module.EXAMPLES]
    assert len(ending) == 2


@each_command
def test_examples_of_the_help_parse(name, monkeypatch):
    module = import_command(name)
    parsed = []

    def parse_only(*arguments):
        parsed.append(parse_args(*arguments))
        raise ValueError("only parsed")

    monkeypatch.setattr(module, "parse_args", parse_only)
    for example in module.EXAMPLES:
        python, flag, command, *argv = example.split()
        assert (python, flag, command) == ("python", "-m", name)
        assert module.main(argv) == 2
    assert len(parsed) == 2


@each_command
def test_every_flag_stands_in_one_group(name, monkeypatch, capsys):
    module = import_command(name)
    seen = []
    monkeypatch.setattr(
        module, "parse_args", lambda *a: seen.append(a[0]) or sys.exit(0)
    )
    with pytest.raises(SystemExit):
        module.main([])
    groups = group_options(seen[0])
    names = [field.name for fields in groups.values() for field in fields]
    expected = [field.name for field in dataclasses.fields(seen[0])]
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
