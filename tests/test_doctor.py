"""The command `doctor`: what it finds out, as text and as JSON, and its exit code."""

import json

import pytest

from tf_prompt import doctor
from tf_prompt.runs.machine import devices, packages, weights

CORE = packages.Extra("", {"tensorflow": "2.21.0"}, ())
DEMO = packages.Extra("demo", {"gradio": None}, ("gradio>=6",))
EVAL = packages.Extra("eval", {"a": "1.0", "b": "2.0"}, ())
SEARCH = packages.Extra("search", {"c": "1.0", "d": None}, ("d>=3",))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of one CPU; a dict of what `doctor` is told about it."""
    told = {
        "seen": {"gpus": [], "error": None},
        "nvidia": [],
        "extras": [CORE, DEMO, EVAL, SEARCH],
        "reach": lambda url: "kaggle" in url,
    }
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(devices, "ask_tensorflow", lambda: told["seen"])
    monkeypatch.setattr(devices, "list_nvidia_gpus", lambda: told["nvidia"])
    monkeypatch.setattr(packages, "list_extras", lambda: told["extras"])
    monkeypatch.setattr(weights, "reach", lambda url: told["reach"](url))
    monkeypatch.setattr(weights, "find", lambda wanted: None)
    return told


def lines_of(capsys):
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_core_is_fine(machine, capsys):
    assert doctor.main([]) == 0
    lines = lines_of(capsys)
    assert "GPU none that TensorFlow sees" in lines
    assert "demo not installed" in lines
    assert "eval a 1.0, b 2.0" in lines
    assert "search incomplete, without d>=3" in lines
    assert "Kaggle answers" in lines and "Hugging Face does not answer" in lines
    assert "resnet_50_imagenet can be downloaded" in "\n".join(lines)
    assert "roberta-large out of reach" in "\n".join(lines)
    assert 'demo pip install "tf_prompt[demo]"' in lines
    assert "evaluate: BERTScore, sacrebleu ready" in lines
    assert not any(line.startswith("problem") for line in lines)


def test_json_is_one_object(machine, capsys):
    machine["seen"] = {"gpus": ["NVIDIA L4"], "error": None}
    assert doctor.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["devices"]["gpus"] == ["NVIDIA L4"]
    assert found["extras"]["search"] == {
        "packages": {"c": "1.0", "d": None},
        "missing": ["d>=3"],
    }
    assert found["commands"]["demo"] == ['pip install "tf_prompt[demo]"']
    assert found["caches"]["KerasHub"]["bytes"] is None
    assert found["hubs"] == {"Kaggle": True, "Hugging Face": False}
    assert found["problems"] == []


@pytest.mark.parametrize(
    "told, problem",
    [
        ({"nvidia": ["NVIDIA L4"]}, "TensorFlow does not see the NVIDIA L4"),
        (
            {"seen": {"gpus": [], "error": "no AVX"}, "nvidia": ["NVIDIA L4"]},
            "TensorFlow cannot be imported: no AVX",
        ),
        (
            {"extras": [packages.Extra("", {"keras": "2.0"}, ("keras>=3.15",))]},
            "the core lacks keras>=3.15",
        ),
    ],
)
def test_what_keeps_it_from_working_is_exit_1(machine, told, problem, capsys):
    machine.update(told)
    assert doctor.main([]) == 1
    assert lines_of(capsys)[-1].startswith(f"problem: {problem}")


def test_no_hub_is_asked_without_a_network(machine, capsys):
    machine["reach"] = None
    assert doctor.main(["--no-network", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hubs"] == {} and found["commands"]["evaluate: cosine"] == []


def test_a_folder_that_is_not_installed_is_wrong_use(machine, monkeypatch, capsys):
    def refuse():
        raise ValueError("tf_prompt must be installed")

    monkeypatch.setattr(packages, "list_extras", refuse)
    assert doctor.main([]) == 2
    assert capsys.readouterr().err == "doctor: error: tf_prompt must be installed\n"
