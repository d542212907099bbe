"""Runs of every kind as functions from pictures to embeddings, and together."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import draw_record
from tf_prompt.data import images
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.evaluation import evaluator
from tf_prompt.evaluation.prediction_log import read_predictions
from tf_prompt.files import read_json
from tf_prompt.inference import neighbours
from tf_prompt.inference.embedding_models import BankedModel
from tf_prompt.inference.loading import Loader
from tf_prompt.metrics import cosine, prompt_embedder
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.training import ensemble_comparison, ensemble_weights, loop, recipes
from tf_prompt.training.strategy import build_strategy

# Together they train two models and embed every split: over a minute.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("minilm")]
PICTURES = [draw_record(c, "left", 0).image for c in ("red", "green", "blue")]


@pytest.fixture(scope="module")
def regressor_run(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "regressor"
    config = FitConfig(
        preset="resnet_regressor_tiny",
        data=str(tiny_shards),
        epochs=3,
        batch_size=16,
        warmup_steps=2,
        learning_rate=3e-3,
        set=("image_size=32", "hidden_dims=(64,)", "dropout_rate=0.0"),
    )
    loop.train(config, run_dir, build_strategy(["CPU:0"]))
    return run_dir


@pytest.fixture(scope="module")
def ensemble_run(tiny_shards, tiny_run, regressor_run, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "ensemble"
    config = FitConfig(
        preset="ensemble_tiny",
        data=str(tiny_shards),
        members=(str(regressor_run), str(tiny_run), f"knn:{tiny_run}"),
    )
    assert loop.train(config, run_dir, build_strategy(["CPU:0"])) == []
    return run_dir, ensemble_comparison.read_comparison(run_dir / "comparison.json")


def test_regressor_is_its_model_at_unit_length(regressor_run):
    member = Loader().load(regressor_run)
    model = Run(regressor_run).model
    found = member.describe_encoded(PICTURES)["embedding"]
    pictures = np.stack([images.decode_image(p, 32) for p in PICTURES])
    output = np.asarray(model(pictures))
    expected = output / np.linalg.norm(output, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_captioner_is_the_embedding_of_what_it_writes(tiny_run):
    """The run has learned by heart what the pictures show."""
    found = Loader().load(tiny_run).describe_encoded(PICTURES)
    assert found["prompt"] == [f"a {c} patch left" for c in ("red", "green", "blue")]
    expected = prompt_embedder.embed(found["prompt"], prompt_embedder.load_embedder())
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)


def test_neighbours_find_the_same_pictures(tiny_run, monkeypatch):
    """The test pictures are those of training: the nearest has the true prompt."""
    member = Loader().load(f"knn:{tiny_run}")
    found = member.describe_encoded(PICTURES)["embedding"]
    prompts = [f"A {c} patch, left!" for c in ("red", "green", "blue")]
    truth = prompt_embedder.embed(prompts, prompt_embedder.load_embedder())
    assert cosine.cosines(truth, found).min() > 0.95
    # The second time its features are read, not computed.
    monkeypatch.setattr(neighbours, "choose_settings", None)
    again = Loader().load(f"knn:{tiny_run}")
    np.testing.assert_allclose(
        again.describe_encoded(PICTURES)["embedding"], found, atol=1e-5
    )


def test_ensemble_joins_its_members(ensemble_run):
    run_dir, comparison = ensemble_run
    member = Loader().load(run_dir)
    assert [part.name for part in member.members] == list(comparison.members)
    model = Run(run_dir).model
    parts = [part.describe_encoded(PICTURES)["embedding"] for part in member.members]
    weights = np.asarray(model.mixing)
    np.testing.assert_allclose(weights.sum(), 1, atol=1e-5)
    mixed = np.einsum("m,mbd->bd", weights, np.stack(parts))
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(
        member.describe_encoded(PICTURES)["embedding"], mixed, atol=1e-5
    )
    rows = {row["name"] for row in read_json(run_dir / "comparison.json")["rows"]}
    assert {"uniform", "simplex", "ridge", "knn:transformer_tiny"} <= rows


def test_stacking_is_a_setting(tiny_run, regressor_run, tiny_shards, tmp_path):
    config = FitConfig(
        preset="ensemble_tiny",
        data=str(tiny_shards),
        members=(str(regressor_run), str(tiny_run)),
        set=("stacking=True",),
    )
    strategy = build_strategy(["CPU:0"])
    loop.train(config, tmp_path / "run", strategy)
    model = Run(tmp_path / "run").model
    config = recipes.complete(config)
    with loop.built(config, tmp_path / "other", tiny_shards, strategy) as (task, _):
        fitted = task.embed_split("validation")
    simplex = ensemble_weights.fit_simplex(*fitted)
    expected = ensemble_weights.fit_ridge(*fitted, simplex)
    np.testing.assert_allclose(model.kernel, expected.kernel, atol=1e-6)


def test_ensemble_without_members_is_refused(tmp_path):
    with pytest.raises(ValueError, match="members must name the runs that ensemble"):
        loop.train(FitConfig(preset="ensemble_tiny"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluation_measures_the_embedding_itself(regressor_run, tiny_shards):
    metrics, rows = evaluator.evaluate_run(
        regressor_run, metrics=("cosine", "bleu"), neighbours=50
    )
    member = Loader().load(regressor_run)
    truth = prompt_embedder.embed(
        ["A red patch, left!"], prompt_embedder.load_embedder()
    )
    assert rows[0]["reference"] == "a red patch left"
    found = member.describe_encoded(PICTURES[:1])["embedding"]
    np.testing.assert_allclose(
        rows[0]["cosine"], cosine.cosines(truth, found)[0], atol=1e-4
    )
    assert metrics["examples"] == len(rows) == 24
    mean = np.mean([row["cosine"] for row in rows])
    np.testing.assert_allclose(metrics["metrics"]["cosine"]["score"], mean, atol=1e-6)
    expected = {"most_common", "nearest_neighbour", "random_training", "shuffled"}
    assert set(metrics["baselines"]) == expected | {"mean_embedding"}
    assert set(metrics["baselines"]["mean_embedding"]) == {"cosine"}
    assert read_predictions(regressor_run / "evaluation") == rows
    assert (regressor_run / "evaluation" / "gallery.html").is_file()


def test_evaluation_goes_on_after_a_kill(regressor_run, monkeypatch):
    whole, rows = evaluator.evaluate_run(
        regressor_run, split="validation", metrics=("cosine",), batch_size=8
    )
    folder = regressor_run / "evaluation_validation"
    lines = (folder / "predictions.csv").read_text().splitlines(keepends=True)
    (folder / "predictions.csv.part").write_text("".join(lines[:10]) + lines[10][:5])
    (folder / "predictions.csv").unlink()
    seen = []
    describe = BankedModel.describe

    def count(model, images):
        seen.extend(images[model.image_size])
        return describe(model, images)

    monkeypatch.setattr(BankedModel, "describe", count)
    again, rows_again = evaluator.evaluate_run(
        regressor_run, split="validation", metrics=("cosine",), batch_size=8
    )
    assert len(seen) == 24 - 9
    # Batches are cut elsewhere, which moves the last digit.
    score, before = (m["metrics"]["cosine"]["score"] for m in (again, whole))
    np.testing.assert_allclose(score, before, atol=1e-6)
    names = ("image_id", "reference", "prediction", "nearest_neighbour")
    for row, row_before in zip(rows_again, rows, strict=True):
        assert [row[n] for n in names] == [row_before[n] for n in names]


def test_written_text_is_the_nearest_prompt_of_the_bank(regressor_run, tmp_path):
    writer = Loader().load_writer(regressor_run)
    assert not writer.attends
    written = writer(PICTURES)
    assert all(prompt.decode().startswith("a ") for prompt in written["prompt"])
    bank = tmp_path / "bank.txt"
    bank.write_text("A red patch, left!\nquantum mechanics\n")
    writer = Loader().load_writer(regressor_run, bank_file=str(bank))
    assert writer(PICTURES[:1])["prompt"].tolist() == [b"a red patch left"]


def test_decoding_is_for_captioners(regressor_run, tiny_run):
    with pytest.raises(ValueError, match="decoding options need a captioner"):
        Loader().load_writer(regressor_run, DecodingConfig(num_beams=2))
    with pytest.raises(ValueError, match="bank must be left out with preset"):
        Loader().load_writer(tiny_run, DecodingConfig(), "bank.txt")


@pytest.mark.parametrize("options", [{}, {"sample": True, "seed": 3}])
def test_reranking_keeps_one_of_the_candidates(tiny_run, options):
    config = DecodingConfig(rerank=3, **options)
    writer = Loader().load_writer(tiny_run, config)
    written = writer(PICTURES)
    # It is sure of itself: nearly all probability lies on the true prompt.
    assert written["prompt"].tolist() == [
        f"a {c} patch left".encode() for c in ("red", "green", "blue")
    ]
    assert (written["score"] <= 0).all()
    assert dataclasses.replace(config, rerank=0) != config
