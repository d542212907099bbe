"""What cannot be measured is left out, and why is said."""

import json

import numpy as np
import pytest

from tf_prompt.evaluation import scoring, submission
from tf_prompt.metrics import prompt_embedder

TRAINING = ["a red cat on a hill", "a blue dog in a mill"]
METRICS = ("bleu", "meteor", "cider_d")


def rows_of(references, predictions=None):
    return [
        {
            "reference": reference,
            "prediction": prediction,
            "nearest_neighbour": TRAINING[0],
            "ended": True,
        }
        for reference, prediction in zip(
            references, predictions or references, strict=True
        )
    ]


def measure(*args, **options):
    return scoring.summarise(scoring.collect(*args, **options))


def test_one_example_has_no_interval_and_no_chance_level():
    found = measure(rows_of(["the old mill at dawn"]), TRAINING, METRICS)
    assert json.loads(json.dumps(found)) == found
    assert set(found["baselines"]) == {
        "most_common",
        "nearest_neighbour",
        "random_training",
    }
    for name in ("bleu", "meteor"):
        entry = found["metrics"][name]
        assert entry["score"] > 99 and entry["low"] is entry["high"] is None
    # Its words are in every reference, and weigh nothing: true prompts would get 0.
    cider = found["metrics"]["cider_d"]
    assert cider["score"] is None and "2 different true prompts" in cider["signature"]
    text = scoring.format_metrics(found)
    assert "only 1 example: no intervals" in text and "[" not in text
    assert "no chance level (shuffled): it needs 2 different true prompts" in text
    assert "unmeasured" in text


def test_scores_are_told_apart_by_the_closest_training_prompt():
    references = ["a red cat on a hill", "snow falls over the old town"]
    predictions = [references[0], "a blue dog in a mill"]
    found = measure(rows_of(references, predictions), TRAINING, METRICS)
    groups = found["by_overlap"]
    counts = [group["examples"] for group in groups.values()]
    assert list(groups) == ["below_0.3", "below_0.5", "below_0.7", "from_0.7"]
    assert counts == [1, 0, 0, 1] and set(groups["below_0.5"]) == {"examples"}
    near, far = groups["from_0.7"], groups["below_0.3"]
    assert near["metrics"]["bleu"]["score"] == 100 > far["metrics"]["bleu"]["score"]
    assert near["baselines"]["nearest_neighbour"]["bleu"]["score"] == 100
    text = scoring.format_metrics(found)
    assert "overlap of words with the closest training prompt" in text
    assert "from 0.7            1" in text


def test_scores_are_told_apart_by_source():
    references = ["a red cat on a hill", "snow falls over the old town"]
    rows = rows_of(references, [references[0], "a blue dog in a mill"])
    found = measure(rows, TRAINING, METRICS)
    assert found["by_source"] == {}
    for row, source in zip(rows, ["site_b", "site_a"], strict=True):
        row["source"] = source
    found = measure(rows, TRAINING, METRICS)
    groups = found["by_source"]
    assert list(groups) == ["site_a", "site_b"]
    assert groups["site_b"]["metrics"]["bleu"]["score"] == 100
    assert groups["site_a"]["metrics"]["bleu"]["score"] == 0
    assert "by source:\nsource" in scoring.format_metrics(found)


def test_the_model_is_compared_with_its_neighbour():
    references = ["a red cat on a hill", "snow falls over the old town"] * 20
    found = measure(rows_of(references), TRAINING, ("meteor", "cider_d"))
    compared = found["against_neighbour"]["meteor"]
    above = found["metrics"]["meteor"]["score"]
    above -= found["baselines"]["nearest_neighbour"]["meteor"]["score"]
    assert compared["difference"] == pytest.approx(above)
    assert compared["low"] > 0 and compared["p"] < 0.01
    assert compared["signature"].endswith("|paired bootstrap:rows")
    assert "meteor: model minus nearest neighbour +" in scoring.format_metrics(found)


def test_one_family_proves_nothing_against_the_neighbour():
    rows = rows_of(["a red cat on a hill", "snow falls over the old town"] * 20)
    rows = [{**row, "family": "one"} for row in rows]
    found = measure(rows, TRAINING, ("meteor",))
    assert found["against_neighbour"] == {}
    assert "model minus nearest neighbour" not in scoring.format_metrics(found)


def test_intervals_go_by_families_where_there_are_some():
    rows = rows_of(["the old mill", "a red cat", "a red hat"], ["the old mill"] * 3)
    alone = measure(rows, TRAINING, ("meteor",))
    assert "families" not in alone
    assert "bootstrap" not in alone["metrics"]["meteor"]["signature"]
    for row, family in zip(rows, ["", "b", "b"], strict=True):
        row["family"] = family
    found = measure(rows, TRAINING, ("meteor",))
    assert found["families"] == 2
    meteor = found["metrics"]["meteor"]
    assert meteor["signature"].endswith("|bootstrap:families")
    assert meteor["score"] == alone["metrics"]["meteor"]["score"]
    assert "over its 2 families of prompts" in scoring.format_metrics(found)


def test_pooled_folds_score_as_all_of_their_examples():
    references = ["a red cat on a hill", "snow falls over the old town", "a blue dog"]
    rows = rows_of(references, ["a red cat", "snow in a town", "a blue dog"])
    # Those of CIDEr-D depend on all true prompts.
    metrics = ("bleu", "meteor")
    whole = measure(rows, TRAINING, metrics)
    parts = [scoring.collect(part, TRAINING, metrics) for part in (rows[:1], rows[1:])]
    pooled = scoring.summarise(scoring.pool(parts))
    for name in ("examples", "metrics", "health", "against_neighbour"):
        assert pooled[name] == whole[name]
    for name in ("most_common", "nearest_neighbour"):
        assert pooled["baselines"][name] == whole["baselines"][name]
    counts = {name: group["examples"] for name, group in pooled["by_overlap"].items()}
    assert counts == {n: g["examples"] for n, g in whole["by_overlap"].items()}
    # One example has no chance level.
    assert "shuffled" in whole["baselines"] and "shuffled" not in pooled["baselines"]


def test_a_baseline_of_a_fold_comes_from_its_own_training_prompts():
    rows = rows_of(["a red cat on a hill", "a blue dog in a mill"])
    parts = [scoring.collect([row], [row["reference"]] * 2, ("bleu",)) for row in rows]
    pooled = scoring.summarise(scoring.pool(parts))
    assert pooled["baselines"]["most_common"]["bleu"]["score"] == 100
    assert pooled["by_overlap"]["from_0.7"]["examples"] == 2


def test_a_metric_that_a_fold_lacks_is_not_measured():
    parts = [
        scoring.collect(rows_of(references), TRAINING, ("cider_d",))
        for references in (["a red cat"], ["a red cat", "a blue dog"])
    ]
    found = scoring.summarise(scoring.pool(parts))["metrics"]["cider_d"]
    assert found["score"] is None and "2 different true prompts" in found["signature"]


def test_equal_prompts_have_intervals_and_no_chance_level():
    references = ["the old mill at dawn"] * 5
    predictions = [*references[:3], "a red cat on a hill", "a mill"]
    found = measure(rows_of(references, predictions), TRAINING, METRICS)
    assert "shuffled" not in found["baselines"]
    bleu = found["metrics"]["bleu"]
    assert bleu["low"] < bleu["score"] < bleu["high"]
    text = scoring.format_metrics(found)
    assert "only 5 examples: the intervals are wide" in text
    assert "no chance level (shuffled)" in text


def test_two_prompts_have_a_chance_level():
    found = measure(rows_of(["the old mill", "a red cat"]), TRAINING, METRICS)
    assert found["baselines"]["shuffled"]["bleu"]["score"] == 0
    assert found["metrics"]["cider_d"]["score"] > 0
    text = scoring.format_metrics(found)
    assert "no chance level" not in text and "shuffled" in text


@pytest.mark.parametrize("num_examples", [1, 2])
def test_embeddings_have_a_chance_level_of_two_prompts(monkeypatch, num_examples):
    class Embedder:
        name = "none"

    monkeypatch.setattr(prompt_embedder, "load_embedder", Embedder)
    monkeypatch.setattr(
        prompt_embedder, "embed", lambda texts, embedder: np.eye(384)[: len(texts)]
    )
    monkeypatch.setattr(prompt_embedder, "signature", lambda embedder: "by hand")
    references = ["the old mill", "a red cat"][:num_examples]
    rows = [{**row, "cosine": 0.5} for row in rows_of(references)]
    vectors = scoring.Vectors(np.eye(384)[:num_examples], np.eye(384)[:3])
    found = measure(rows, TRAINING, ("cosine", "bleu"), vectors=vectors)
    assert found["metrics"]["cosine"]["score"] == 0.5
    assert ("shuffled" in found["baselines"]) == (num_examples == 2)
    assert (found["metrics"]["cosine"]["low"] is None) == (num_examples == 1)
    assert "mean_embedding" in found["baselines"]


def test_a_submission_of_one_image_has_no_interval():
    text = submission.format_score(np.array([0.5]), "minilm")
    assert text == "cosine 0.50000 for one image, which has no interval\nminilm"
    text = submission.format_score(np.array([0.5, 0.5]), "minilm")
    assert text == "cosine 0.50000 [0.50000, 0.50000] for 2 images\nminilm"
