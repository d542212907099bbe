"""An ensemble as a run like others: its folder, its table, its options."""

import dataclasses
import json
import os

import numpy as np
import pytest

from tf_prompt import fit
from tf_prompt.files import read_json, write_json
from tf_prompt.inference.loading import Loader
from tf_prompt.metrics import prompt_embedder
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs import lock
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.training import (
    dry_run,
    ensemble_weights,
    learning_rate_finder,
    loop,
    recipes,
    tasks,
)
from tf_prompt.training.strategy import build_strategy
from tf_prompt.training.tasks.ensembling import EnsemblingTask

pytestmark = pytest.mark.usefixtures("minilm")


@pytest.fixture(scope="module")
def config(tiny_shards, tiny_run):
    members = str(tiny_run), f"knn:{tiny_run}"
    return FitConfig(preset="ensemble_tiny", data=str(tiny_shards), members=members)


@pytest.fixture(scope="module", autouse=True)
def _embedded_once():
    """Has the members embed each split once: no test changes what they see."""
    embed, found = EnsemblingTask.embed_split, {}

    def embed_split(task, split):
        key = task.config.members, split
        if key not in found:
            found[key] = embed(task, split)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EnsemblingTask, "embed_split", embed_split)
        yield


def train(config, run_dir):
    return loop.train(config, run_dir, build_strategy(["CPU:0"]))


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("ensemble") / "run"
    assert train(config, run_dir) == []
    return run_dir


def written(run_dir):
    return (run_dir / "best.keras").stat().st_mtime_ns


def test_folder_is_that_of_a_run(trained, config, tiny_shards):
    saved = read_json(trained / "config.json")
    assert set(saved["data_fingerprint"]) == {"train", "validation", "test"}
    # No sham: what means nothing has no value.
    assert saved["epochs"] is saved["learning_rate"] is saved["flip"] is None
    assert Run(trained).config == recipes.complete(config)
    assert run_folder.find_data(trained) == tiny_shards


def test_weights_are_those_of_the_search(trained, config, tiny_shards, tmp_path):
    config = recipes.complete(config)
    with loop.built(config, tmp_path, tiny_shards) as (task, model):
        assert model.members == ("transformer_tiny", "knn:transformer_tiny")
        embeddings, targets = task.embed_split("validation")
    assert embeddings.shape == (24, 2, 384) and targets.shape == (24, 384)
    expected = ensemble_weights.fit_simplex(embeddings, targets)
    np.testing.assert_allclose(Run(trained).model.mixing, expected, atol=1e-6)


def test_members_are_loaded_with_one_embedder(
    config, tiny_shards, tmp_path, monkeypatch
):
    load, calls = prompt_embedder.load_embedder, []

    def count():
        calls.append(1)
        return load()

    monkeypatch.setattr(prompt_embedder, "load_embedder", count)
    twice = dataclasses.replace(config, members=config.members[:1] * 2)
    task = tasks.of("ensemble_tiny")(twice, tmp_path, tiny_shards)
    assert len(task.members) == 2 and len(calls) == 1


def test_finished_ensemble_is_left_alone(trained, config, capsys):
    before = written(trained)
    assert train(config, trained) == []
    assert written(trained) == before
    assert f"{trained} is trained" in capsys.readouterr().err


def test_changed_member_is_fitted_anew(trained, config, tiny_run):
    before = written(trained)
    later = (trained / "comparison.json").stat().st_mtime_ns + 1
    os.utime(tiny_run / "best.keras", ns=(later, later))
    assert train(config, trained) == []
    assert written(trained) > before


def test_other_options_are_refused(trained, config):
    with pytest.raises(ValueError, match="seed must stay 0 to resume"):
        train(dataclasses.replace(config, seed=1), trained)
    with lock.hold(trained), pytest.raises(ValueError, match="in use"):
        train(config, trained)


def test_run_with_a_rate_of_before_goes_on(trained, config, capsys):
    """Ensembles had a learning rate and an epoch, and no data fingerprint."""
    path = trained / "config.json"
    saved = {**read_json(path), "epochs": 1, "learning_rate": 1.0, "flip": False}
    saved.pop("data_fingerprint")
    write_json(path, saved)
    assert Run(trained).config.learning_rate == 1.0
    before = written(trained)
    assert train(config, trained) == []
    assert written(trained) == before
    assert Run(trained).config.learning_rate is None
    assert Loader().load(trained).name == "ensemble_tiny"


def test_fit_prints_table_metrics_and_what_follows(trained, config, capsys, tmp_path):
    """From an old config.json, on the run that is there."""
    old = {**dataclasses.asdict(config), "epochs": 1, "learning_rate": 1.0}
    write_json(tmp_path / "old.json", {**old, "flip": False, "batch_size": 64})
    argv = ["--config", str(tmp_path / "old.json"), "--run-dir", str(trained)]
    assert fit.main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mean cosine, 95 % intervals in brackets; fitted on 24")
    for name in ("transformer_tiny", "knn:transformer_tiny", "uniform", "ridge"):
        assert f"\n{name} " in printed
    metrics = json.loads((trained / "evaluation" / "metrics.json").read_text())
    assert set(metrics["metrics"]) == {"cosine", "bleu", "meteor"}
    following = printed.split("What next:\n")[1].splitlines()
    verbs = [line.split()[2].removeprefix("tf_prompt.") for line in following]
    assert verbs == ["evaluate", "predict", "submit", "export"]


def test_damaged_comparison_is_one_line(trained, tmp_path):
    task = tasks.of("ensemble_tiny")
    content = read_json(trained / "comparison.json")
    path = tmp_path / "comparison.json"
    row = {**content["rows"][0], "score": "high"}
    for damaged in ([], {}, {**content, "rows": 1}, {**content, "rows": [row]}):
        write_json(path, damaged)
        with pytest.raises(ValueError, match="Received: .*comparison.json"):
            task.summarise(tmp_path)


@pytest.mark.parametrize("function", [dry_run.rehearse, learning_rate_finder.find])
def test_what_needs_steps_is_refused(function, config, tmp_path):
    message = "(dry_run|find_learning_rate) must be left out with preset ensemble_tiny"
    with pytest.raises(ValueError, match=f"{message}. Received: True"):
        function(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_member_leaves_room_for_the_true_one(config, tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="run_dir must hold a run"):
        train(dataclasses.replace(config, members=("absent",)), run_dir)
    run_folder.open_run(run_dir, config)
    assert run_folder.read_config(run_dir) == config
