"""GPUs that a machine has, told by stand-ins for the driver's files and program."""

import importlib.metadata

import pytest

from tf_prompt.runs.machine import devices


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of no GPU: a folder that stands for its driver's files."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("_DRIVER", "_DEVICE", "_WSL_DEVICE"):
        monkeypatch.setattr(devices, name, tmp_path / name)
    monkeypatch.setattr(devices, "_WSL_PROGRAM", str(tmp_path / "wsl" / "nvidia-smi"))
    return tmp_path


def put_program(folder, script):
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_no_gpu(machine):
    assert devices.list_nvidia_gpus() == []


@pytest.mark.parametrize("folder", ["bin", "wsl"])
def test_the_driver_is_asked(machine, folder):
    put_program(machine / folder, "echo 'NVIDIA A100'; echo 'NVIDIA L4'")
    assert devices.list_nvidia_gpus() == ["NVIDIA A100", "NVIDIA L4"]


def test_a_driver_without_an_answer_leaves_its_files(machine):
    put_program(machine / "bin", "exit 9")
    model = machine / "_DRIVER" / "0000:01:00.0"
    model.mkdir(parents=True)
    (model / "information").write_text("Model: \t\t NVIDIA T4\nIRQ:   70\n")
    assert devices.list_nvidia_gpus() == ["NVIDIA T4"]
    (model / "information").unlink()
    assert devices.list_nvidia_gpus() == ["NVIDIA GPU"]


def test_a_device_alone_is_a_gpu(machine):
    (machine / "_DEVICE").touch()
    assert devices.list_nvidia_gpus() == ["NVIDIA GPU"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_hidden_on_purpose_are_not_missed(machine, monkeypatch, hidden):
    put_program(machine / "bin", "echo 'NVIDIA A100'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert devices.list_nvidia_gpus() == []


@pytest.mark.parametrize(
    "device, packages, mend",
    [
        (None, [], "docker run --gpus all"),
        ("_DEVICE", [], 'pip install "tf_prompt[gpu]"'),
        ("_WSL_DEVICE", [], 'pip install "tf_prompt[gpu]"'),
        ("_DEVICE", ["cudnn"], "Update the driver"),
    ],
)
def test_what_is_missing_is_named(machine, monkeypatch, device, packages, mend):
    if device:
        (machine / device).touch()
    monkeypatch.setattr(importlib.metadata, "distributions", lambda name: packages)
    line = devices.explain_unseen(["NVIDIA A100"])
    assert line.startswith("TensorFlow does not see the NVIDIA A100 of this machine")
    assert mend in line and "\n" not in line


@pytest.mark.parametrize(
    "question, expected",
    [
        ("print('log'); print('[\"A\"]')", {"gpus": ["A"], "error": None}),
        ("import none_such", {"gpus": [], "error": "No module named 'none_such'"}),
        ("import os; os.kill(os.getpid(), 4)", {"gpus": [], "error": "signal 4"}),
    ],
)
def test_an_import_that_fails_is_an_answer(monkeypatch, question, expected):
    monkeypatch.setattr(devices, "_QUESTION", question)
    found = devices.ask_tensorflow()
    assert found["gpus"] == expected["gpus"]
    assert (expected["error"] or "None") in str(found["error"])
