"""Two runs are two models, unless the user says that they are one."""

import json
import shutil

import pytest

from tf_prompt import export
from tf_prompt.runs.run import Run
from tf_prompt.serving import names, signatures, versions, warmup


def make_run(folder, **changed):
    """The options of a run of the toy set; nothing else of it is asked for here."""
    folder.mkdir(parents=True)
    options = {"preset": "lstm_tiny", "data": "toy", **changed}
    (folder / "config.json").write_text(json.dumps(options))
    return Run(folder)


def make_version(run, model, number, is_old=False):
    assets = model / str(number) / "assets"
    assets.mkdir(parents=True)
    shutil.copy(run.path / "config.json", assets)
    if not is_old:
        names.note_origin(model / str(number), run)


def test_a_run_is_served_as_its_folder_is_called(tmp_path, monkeypatch):
    run = make_run(tmp_path / "runs" / "first-try_2.0")
    assert names.name_model(run, tmp_path / "out") == "first-try_2.0"
    assert names.name_model(run, tmp_path / "out", "cats") == "cats"
    monkeypatch.chdir(run.path)
    assert names.name_model(Run("."), tmp_path / "out") == "first-try_2.0"


def test_runs_of_one_preset_are_two_models(tmp_path):
    out = tmp_path / "out"
    # Trained alike, and one of them in the folder that `fit` takes by itself.
    for name in ("lstm_tiny", "b"):
        run = make_run(tmp_path / name)
        assert names.name_model(run, out) == name
        make_version(run, out / name, 1)
    for name in ("lstm_tiny", "b"):
        assert names.name_model(Run(tmp_path / name), out) == name


def test_a_model_named_by_its_preset_goes_on(tmp_path):
    run, out = make_run(tmp_path / "a", seed=1), tmp_path / "out"
    make_version(run, out / "lstm_tiny", 1, is_old=True)
    assert names.name_model(run, out) == "lstm_tiny"
    make_version(run, out / "lstm_tiny", 2)
    assert names.name_model(run, out) == "lstm_tiny"
    # Training for longer is the same run; another seed, folder or data are not.
    (run.path / "config.json").write_text(
        json.dumps({"preset": "lstm_tiny", "data": "toy", "seed": 1, "epochs": 9})
    )
    assert names.name_model(Run(run.path), out) == "lstm_tiny"
    assert names.name_model(make_run(tmp_path / "b", seed=2), out) == "b"


def test_another_run_of_the_same_name_is_refused(tmp_path):
    run, out = make_run(tmp_path / "x" / "a"), tmp_path / "out"
    make_version(run, out / "a", 1)
    for changed in ({"seed": 1}, {"data_fingerprint": {"train": "0"}}):
        (tmp_path / "y").mkdir(exist_ok=True)
        shutil.rmtree(tmp_path / "y" / "a", ignore_errors=True)
        other = make_run(tmp_path / "y" / "a", **changed)
        if "data_fingerprint" in changed:
            (out / "a" / "1" / "assets" / "config.json").write_text(
                json.dumps({"preset": "lstm_tiny", "data_fingerprint": {"train": "1"}})
            )
        with pytest.raises(ValueError, match="is a model of another run. Received: .*"):
            names.name_model(other, out)
        # Whoever names it means it: a next version, or a canary.
        assert names.name_model(other, out, "a") == "a"


@pytest.mark.parametrize("content", ["[]", "{", '{"preset": 3}', None])
def test_versions_of_unknown_origin_are_another_runs(tmp_path, content):
    run, out = make_run(tmp_path / "a"), tmp_path / "out"
    assets = out / "a" / "1" / "assets"
    assets.mkdir(parents=True)
    if content is not None:
        (assets / "config.json").write_text(content)
    with pytest.raises(ValueError, match="--name a makes it the next version"):
        names.name_model(run, out)


@pytest.mark.parametrize("name", ["mein Lauf", "ü", "a:b", ".hidden", "-a"])
def test_folders_that_no_address_can_name_need_a_name(tmp_path, name):
    run = make_run(tmp_path / name)
    with pytest.raises(ValueError, match=f"Received: {name}; give another by --name"):
        names.name_model(run, tmp_path / "out")
    with pytest.raises(ValueError, match="name must be letters"):
        names.name_model(run, tmp_path / "out", name)


def test_a_file_is_no_model(tmp_path):
    run = make_run(tmp_path / "a")
    (tmp_path / "models.config").touch()
    with pytest.raises(
        ValueError, match="must be that of a folder in output. Received: mod"
    ):
        names.name_model(run, tmp_path, "models.config")


def test_export_lists_each_run_as_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(signatures, "load_servable", lambda run, options: None)
    monkeypatch.setattr(versions, "_write", lambda servable, path: path.mkdir())
    monkeypatch.setattr(versions, "_check_export", lambda servable, saved: None)
    monkeypatch.setattr(versions, "SavedPromptWriter", lambda path, **_: None)
    monkeypatch.setattr(warmup, "is_available", lambda: False)
    monkeypatch.setattr(
        "tf_prompt.evaluation.report.model_card.write_model_card", lambda *_: None
    )
    out = tmp_path / "out"
    for name in ("a", "b"):
        make_run(tmp_path / name)
        assert (
            export.main(["--run-dir", str(tmp_path / name), "--output", str(out)]) == 0
        )
        assert capsys.readouterr().out.strip() == str(out / name / "1")
    listed = (out / "models.config").read_text()
    assert listed.count("base_path:") == 2 and 'base_path: "/models/b"' in listed
    argv = ["--run-dir", str(tmp_path / "b"), "--output", str(out), "--name", "a"]
    assert export.main([*argv, "--label", "canary"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "a" / "2")
    assert json.loads((out / "a" / "2" / "assets" / "export.json").read_text()) == {
        "run": "b"
    }
