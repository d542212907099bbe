import json
import sys

import numpy as np
import pytest

from tests.metrics.prompts import PREDICTIONS, REFERENCES
from tf_prompt.metrics import prompt_embedder, score


@pytest.fixture
def embedder():
    """An embedder of letter counts: fast, and right about equal prompts."""

    class LetterCounts:
        def predict_on_batch(self, inputs):
            return np.pad(inputs["letters"], [(0, 0), (0, 384 - 26)])

    def count_letters(texts):
        counts = [[text.count(chr(97 + i)) for i in range(26)] for text in texts]
        mask = np.ones((len(texts), 26), dtype=bool)
        return {"letters": np.array(counts), "padding_mask": mask}

    return prompt_embedder.PromptEmbedder(count_letters, LetterCounts(), "letters")


@pytest.fixture
def no_bert_score(monkeypatch):
    """A machine without the optional package."""
    monkeypatch.setitem(sys.modules, "bert_score", None)


def test_score_gives_what_metrics_json_holds(embedder, no_bert_score):
    found = score.score(REFERENCES, PREDICTIONS, embedder)
    assert tuple(found) == ("bleu", "meteor", "bertscore_f1", "cosine", "cider_d")
    assert json.loads(json.dumps(found)) == found
    # sacrebleu 2.6.0, and the mean of pycocoevalcap 1.2.
    assert found["bleu"]["score"] == pytest.approx(34.848891720791194)
    assert found["cider_d"]["score"] == pytest.approx(3.0292956708336702)
    for name in ("bleu", "meteor", "cosine", "cider_d"):
        entry = found[name]
        assert entry["low"] < entry["score"] < entry["high"]
        assert entry["signature"]


def test_a_missing_package_gives_none_and_the_reason(embedder, no_bert_score):
    found = score.score(REFERENCES, PREDICTIONS, embedder, metrics=["bertscore_f1"])
    assert found == {
        "bertscore_f1": {
            "score": None,
            "low": None,
            "high": None,
            "signature": "not measured: BERTScore needs an extra: "
            'pip install "tf_prompt[eval]"',
        }
    }


def test_an_unreachable_embedder_gives_none_and_the_reason(monkeypatch):
    def fail():
        raise ValueError("the embedder must be reachable")

    monkeypatch.setattr(prompt_embedder, "load_embedder", fail)
    found = score.score(["a"], ["a"], metrics=["cosine"])["cosine"]
    assert found["score"] is None
    assert found["signature"] == "not measured: the embedder must be reachable"


def test_true_prompts_score_the_most(embedder):
    prompts = REFERENCES[:3]
    found = score.score(
        prompts, prompts, embedder, metrics=["bleu", "meteor", "cosine"]
    )
    assert found["bleu"]["score"] == found["bleu"]["low"] == 100
    assert found["cosine"]["score"] == found["cosine"]["high"] == 1
    # Prompts of 9, 12 and 9 words, one run each: 1 - 0.5 / m ** 3.
    expected = 100 - 50 * (2 / 9**3 + 1 / 12**3) / 3
    assert found["meteor"]["score"] == pytest.approx(expected)


def test_empty_predictions_score_0(embedder):
    names = ["bleu", "meteor", "cider_d", "cosine"]
    found = score.score(REFERENCES, [""] * 6, embedder, metrics=names)
    assert [found[name]["score"] for name in names] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((["a"], ["a", "b"]), "equal lengths. Received: 1 and 2"),
        ((["a"], ["a"], None, None, ["bleurt"]), "Received: bleurt"),
    ],
    ids=["unequal", "unknown metric"],
)
def test_score_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        score.score(*arguments)


def test_raw_text_counts_marks_and_says_so():
    references = ["a castle, by Ann, 8k", "a fox, 8k, oil"]
    predictions = ["a castle, by ann, 8k", "a fox , 8k , oil"]
    raw = score.score(references, predictions, metrics=["bleu", "meteor"], is_raw=True)
    apart = score.score(
        ["a castle , by Ann , 8k", "a fox , 8k , oil"],
        ["a castle , by ann , 8k", "a fox , 8k , oil"],
        metrics=["bleu", "meteor"],
    )
    for name in ("bleu", "meteor"):
        assert raw[name]["score"] == apart[name]["score"]
        assert raw[name]["signature"] == apart[name]["signature"] + "|text:raw"
    # One word of fourteen differs, by its case.
    assert 50 < raw["bleu"]["score"] < 100
