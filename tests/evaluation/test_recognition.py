"""Labels among the first guesses, worked out by hand."""

import types

import numpy as np
import pytest

from tf_prompt import evaluate
from tf_prompt.evaluation import recognition

TRAINING = ["dog by ann", "cat by bob", "dog by bob", "owl by cy", "a lake"]


class Writer:
    """Writes what it is told to for each image."""

    def write_best(self, images, count):
        return [[(text, 0.0) for text in found] for found in images]

    def open(self, images):
        return images

    def features(self, images):
        zeros = np.zeros((len(images), 1))
        return types.SimpleNamespace(numpy=lambda: zeros)


class Index:
    features = np.zeros((5, 1))

    def search(self, queries, k):
        # The nearest image has no label; two of one artist count once.
        return np.tile([4, 1, 2, 0, 3], (len(queries), 1))[:, :k], None


def measure(true, written):
    rows = [{"reference": text} for text in true]
    training = types.SimpleNamespace(prompts=TRAINING, index=Index())
    batches = [{"image": written[:1]}, {"image": written[1:]}]
    return recognition.measure("by (.+)$", rows, batches, Writer(), training)


def test_labels_are_counted_among_first_guesses():
    found = measure(
        ["dog by ann", "owl by bob", "dog by dora"],
        [["owl by ann"], ["owl", "owl by cy", "owl by bob"], ["dog by dora"]],
    )
    # Nobody could have learned dora.
    assert found["examples"] == 2 and found["labels"] == 3
    scores = {
        name: [found[name][rank]["score"] for rank in ("top_1", "top_5")]
        for name in ("model", "nearest_neighbour", "commonest")
    }
    assert scores["model"] == [50, 100]
    assert scores["nearest_neighbour"] == [50, 100]
    assert scores["commonest"] == [50, 100]
    text = recognition.format_table(found)
    assert "2 prompts among 3" in text and "33.33" in text and "100.00" in text


def test_without_labels_it_is_said():
    found = measure(["a lake", "a hill"], [["a lake"], ["a hill"]])
    assert found == {"examples": 0, "labels": 3}
    assert "no true prompt has a label" in recognition.format_table(found)


def test_a_broken_pattern_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(["--run-dir", "none", "--recognise", "by ("])
    assert stopped.value.code == 2
    assert "recognise must be a regular expression" in capsys.readouterr().err
