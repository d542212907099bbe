"""A retriever as a run like others: fitted, measured, asked and exported."""

import dataclasses
import json

import numpy as np
import pytest

from tests.conftest import SMALL, copy_shards
from tf_prompt import evaluate, export, fit, predict
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.vectors import unit_rows
from tf_prompt.inference.loading import Loader
from tf_prompt.inference.retrieval import RetrievalIndex
from tf_prompt.models.presets import build
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SavedPromptWriter
from tf_prompt.training import loop, retrieval_settings
from tf_prompt.training.retrieval_settings import CHOICES
from tf_prompt.training.strategy import build_strategy
from tf_prompt.training.tasks.mean_regions import mean_regions, regions_and_style
from tf_prompt.training.tasks.retrieval import RetrievalTask


@pytest.fixture(scope="module")
def trained(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("retrieval") / "run"
    argv = ["--preset", "retrieval_tiny", "--data", str(tiny_shards)]
    argv += ["--run-dir", str(run_dir)]
    for pair in (*SMALL[:2], "text_dim=8"):
        argv += ["--set", pair]
    assert fit.main(argv) == 0
    return run_dir, argv


@pytest.fixture(scope="module")
def pictures(tiny_shards):
    examples = Examples(tiny_shards, "test", with_targets=False)
    return next(examples.batches(12, "reading"))


def test_each_picture_gets_the_prompt_of_its_like(trained, capsys):
    run_dir, _ = trained
    metrics = json.loads((run_dir / "evaluation" / "metrics.json").read_text())
    # Each test picture is one of training: its prompt has the highest weight.
    assert metrics["metrics"]["bleu"]["score"] > 90
    assert metrics["baselines"]["nearest_neighbour"]["bleu"]["score"] > 99
    argv = ["--run-dir", str(run_dir), "--metrics", "bleu", "--json"]
    assert evaluate.main([*argv, "--split", "validation"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 24


def test_a_trained_run_is_not_fitted_again(trained, capsys):
    run_dir, argv = trained
    before = (run_dir / "best.keras").stat().st_mtime_ns
    assert fit.main(argv) == 0
    assert (run_dir / "best.keras").stat().st_mtime_ns == before
    assert "is trained" in capsys.readouterr().err


def test_cached_regions_give_the_same_index(trained, tiny_shards, tmp_path):
    shards = copy_shards(tiny_shards, tmp_path / "shards", "*-0000[01].tfrecord")
    options = {"data": str(shards), "cache_features": True, "batch_size": 64}
    task = RetrievalTask(
        FitConfig(preset="retrieval_tiny", **options), tmp_path, shards
    )
    model = Run(trained[0]).model
    cached = mean_regions(task, model, "train")
    assert list(shards.glob("features/*/*.float16"))
    task.config = dataclasses.replace(task.config, cache_features=False)
    np.testing.assert_allclose(cached, mean_regions(task, model, "train"), atol=2e-3)


@pytest.fixture(scope="module")
def styled(tiny_shards, tmp_path_factory):
    """A run with style, of an encoder with random weights."""
    run_dir = tmp_path_factory.mktemp("styled") / "run"
    config = FitConfig(
        preset="retrieval_small",
        data=str(tiny_shards),
        image_size=64,
        backbone_weights="random",
        set=("text_dim=8", "style_weight=0.25"),
    )
    loop.train(config, run_dir, build_strategy(["CPU:0"]))
    return run_dir


def test_style_is_scaled_by_the_training_split(styled, tiny_shards):
    model = Run(styled).model
    rows = RetrievalIndex.load(styled).rows.astype(np.float32)
    assert rows.shape == (96, model.vector_dim) and model.style_dim == 820
    squares = [(part**2).sum(axis=1) for part in np.split(rows, [1280, 1288], axis=1)]
    wanted = [1, model.text_weight, model.style_weight]
    assert model.style_weight == 0.25
    np.testing.assert_allclose(np.transpose(squares), [wanted] * 96, atol=3e-3)
    config = FitConfig(preset="retrieval_small", batch_size=64)
    task = RetrievalTask(config, styled, tiny_shards)
    features, style = regions_and_style(task, model, "train")
    scaled = model.style_proj(style).numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-3)
    assert 0 < scaled.std(axis=0).max() < 1
    seen = unit_rows(scaled) * model.style_weight**0.5
    np.testing.assert_allclose(rows[:, 1288:], seen, atol=2e-3)
    np.testing.assert_allclose(rows[:, :1280], features, atol=2e-3)


def test_a_run_with_style_finds_its_own_images(styled, tiny_shards):
    examples = Examples(tiny_shards, "train", 12, with_targets=False)
    batch = next(examples.batches(12, "reading"))
    model = Loader().load_writer(styled)
    vectors = model._network(model.open(batch["image"])[64])
    nearest = model._table.nearest(vectors)[0].numpy()
    assert nearest[:, 0].tolist() == list(range(12))


def test_numbers_are_chosen_unless_they_are_given(tiny_shards, tmp_path):
    rows = np.eye(3, dtype=np.float16)
    model = build("retrieval_tiny", image_size=32, conv_filters=(8, 16))
    config = FitConfig(preset="retrieval_tiny", set=("sharpness=7.5",))
    task = RetrievalTask(config, tmp_path, tiny_shards)
    model.sharpness = 7.5
    queries = [np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)]
    queries.append(np.zeros((2, 0), np.float32))
    task._choose(
        model, rows, ["a cat", "a dog", "an owl"], queries, (["a dog"] * 2, [1, 2])
    )
    assert model.sharpness == 7.5
    assert model.num_neighbours in CHOICES["num_neighbours"]


@pytest.mark.parametrize(
    "given, served, wanted",
    [
        ((), {"": (2.0, 20.0), "by": (3.0, 21.0)}, "by"),
        ((), {"": (2.0, 20.0), "by": (3.0, 19.0)}, ""),
        ((), {"": (2.0, 20.0), "by": (2.0, 20.0)}, ""),
        (("separator=''",), None, ""),
        (("separator=by",), None, "by"),
    ],
    ids=["better", "mixed", "equal", "refused", "asked for"],
)
def test_a_separator_is_chosen_where_it_serves_validation(
    given, served, wanted, tiny_shards, tmp_path, monkeypatch
):
    model = build("retrieval_tiny", image_size=32, conv_filters=(2,), text_dim=1)
    model.separator = dict(pair.split("=") for pair in given).get("separator", "")
    model.separator = model.separator.strip("'")
    monkeypatch.setattr(
        retrieval_settings,
        "score_families",
        lambda writer, *validation: served[model.separator],
    )
    task = RetrievalTask(
        FitConfig(preset="retrieval_tiny", set=given), tmp_path, tiny_shards
    )
    index = RetrievalIndex(np.eye(3, dtype=np.float16), ["a by b", "a by c", "d"])
    found = task._add_endings(model, index, index.rows[:, :2], ((), (), ()))
    assert model.separator == wanted
    assert (found.endings is None) == (not wanted)


def test_a_separator_that_no_prompt_has_is_refused(tiny_shards, tmp_path):
    model = build("retrieval_tiny", image_size=32, conv_filters=(2,), text_dim=1)
    config = FitConfig(preset="retrieval_tiny", set=("separator=of",))
    task = RetrievalTask(config, tmp_path, tiny_shards)
    index = RetrievalIndex(np.eye(3, dtype=np.float16), ["a by b", "a by c", "d"])
    with pytest.raises(ValueError, match="at least two training prompts. Received: of"):
        task._add_endings(model, index, index.rows, ((), (), ()))


def test_predict_gives_several_prompts_the_best_first(
    trained, pictures, tmp_path, capsys
):
    path = tmp_path / "a.jpg"
    path.write_bytes(pictures["image"][0])
    assert predict.main(["--run-dir", str(trained[0]), str(path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    model = Loader().load_writer(trained[0])
    (best,) = model.write_best(pictures["image"][:1], 3)
    assert best[0] == (row["prompt"], pytest.approx(row["score"], abs=1e-5))
    assert 0 <= best[1][1] <= best[0][1] <= 1 and best[0][0] != best[1][0]


def test_an_export_writes_the_same(trained, pictures, tmp_path, capsys):
    argv = ["--run-dir", str(trained[0]), "--output", str(tmp_path / "saved")]
    assert export.main(argv) == 0
    place = capsys.readouterr().out.strip()
    found = SavedPromptWriter(place)([*pictures["image"], b"broken"])
    wanted = Loader().load_writer(trained[0])(pictures["image"])
    assert found["prompt"][:-1].tolist() == wanted["prompt"].tolist()
    assert found["prompt"][-1] == b"" and np.isnan(found["score"][-1])


def test_embeddings_are_refused_in_one_line(trained):
    with pytest.raises(ValueError, match="embeddings are not predicted by this kind"):
        Loader().load(trained[0])


def test_a_damaged_index_is_named(trained, tmp_path):
    index = RetrievalIndex.load(trained[0])
    assert len(index.prompts) == 96
    RetrievalIndex(index.rows, index.prompts[:-1]).save(tmp_path)
    with pytest.raises(ValueError, match="a prompt per row"):
        RetrievalIndex.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="must hold the index"):
        RetrievalIndex.load(tmp_path / "none")
