"""What `fit` says of splits that are empty."""

import types

from tests.pipelines.conftest import encode, write_csv
from tf_prompt import fit
from tf_prompt.data import records
from tf_prompt.runs import run as runs
from tf_prompt.training import interruption, loop


def test_an_empty_test_split_is_no_error_after_training(tmp_path, monkeypatch, capsys):
    for split in ("train", "validation"):
        records.shard_path(tmp_path, split, 0).touch()
    run = types.SimpleNamespace(preset="lstm_tiny", find_data=lambda: tmp_path)
    monkeypatch.setattr(runs, "Run", lambda run_dir: run)
    fit.report(tmp_path / "run")
    said = capsys.readouterr()
    assert said.err == f"fit: not tested: the test split of {tmp_path} is empty\n"
    assert f"evaluate --run-dir {tmp_path / 'run'} --split validation\n" in said.out


def test_an_empty_validation_split_is_named(tmp_path, capsys):
    from pipelines import write_records

    (tmp_path / "a.png").write_bytes(encode())
    write_csv(tmp_path / "my.csv", [("file", "prompt"), ("a.png", "a red cat")])
    argv = ["--source", str(tmp_path / "my.csv"), "--output", str(tmp_path / "out")]
    assert write_records.main([*argv, "--image-size", "16", "--processes", "1"]) == 0
    assert "validation and test are empty" in capsys.readouterr().err
    argv = ["--data", str(tmp_path / "out"), "--run-dir", str(tmp_path / "run")]
    assert fit.main([*argv, "--preset", "lstm_tiny", "--batch-size", "1"]) == 2
    line = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1].strip()
    assert line.startswith("fit: error: data must have examples of validation")
    assert "with shards of train only" in line and line.endswith("--validation 0.2")


def test_the_first_line_names_the_devices(tmp_path, tiny_shards, monkeypatch, capsys):
    def stop(run, run_dir):
        raise interruption.Stopped("stopped", 0)

    monkeypatch.setattr(loop, "train", stop)
    argv = ["--data", str(tiny_shards), "--run-dir", str(tmp_path / "run")]
    assert fit.main(argv) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("fit: training on ") and first.endswith(", in float32")
    assert second == "fit: stopped"
