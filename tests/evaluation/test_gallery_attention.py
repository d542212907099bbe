"""Where the model looked, in the gallery: which pictures show it, and what."""

import base64
import html
import io
import re

import numpy as np
import PIL.Image
import tensorflow as tf

from tests.evaluation.test_gallery import row
from tf_prompt.evaluation import evaluator
from tf_prompt.inference import attention


def rows_of_f1(counts):
    """Rows that have so many of ten words right, named by their place."""
    reference = " ".join("abcdefghij")
    return [
        row(
            f"{i}", " ".join(["abcdefghij"[j] if j < count else "x" for j in range(10)])
        )
        | {"reference": reference}
        for i, count in enumerate(counts)
    ]


def test_worst_middle_and_best_are_chosen():
    rows = rows_of_f1([5, 9, 0, 7, 10, 4, 5, 1, 8])
    # In order of F1: 2 7 5 0 6 3 8 1 4.
    assert evaluator.choose_examples(rows, 1) == ["2", "6", "4"]
    assert evaluator.choose_examples(rows, 2) == ["2", "7", "0", "6", "1", "4"]
    everything = [str(i) for i in range(9)]
    assert evaluator.choose_examples(rows, 3) == everything
    rows[2]["prediction"] = " "
    assert evaluator.choose_examples(rows, 1)[0] == "7"
    assert evaluator.choose_examples([], 1) == []


class Attention:
    """Looks at the first quarter for the first word, at the second for the next."""

    name, attends = "lstm", True

    def look(self, picture, prompt):
        words = prompt.split()
        return words, np.eye(len(words), 4)


def test_words_are_lit_where_the_model_looked():
    picture = np.full((64, 64, 3), 200, np.uint8)
    drawn = attention.draw_words(Attention(), picture, "red cat")
    corners = []
    for data in drawn:
        pixels = np.asarray(PIL.Image.open(io.BytesIO(data))).astype(int)
        assert pixels.shape == (128, 128, 3)
        corners.append([pixels[8, 8, 0] > 150, pixels[8, -8, 0] > 150])
    assert corners == [[True, False], [False, True]]


def test_evaluation_draws_the_words_of_chosen_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluator, "choose_examples", lambda rows: ["1", "3"])
    rows = [row("1", "a red cat"), row("2", "a dog"), row("3", "a cat")]
    # In several batches: a picture must find its own prompt.
    images_of = [np.full((1, 8, 8, 3), value, np.uint8) for value in (0, 90, 200)]
    batches = [
        {"image_id": tf.constant([str(i)]), "image": tf.constant(image)}
        for i, image in enumerate(images_of, start=1)
    ]
    evaluator.write_gallery(tmp_path, rows, batches, Attention(), "test")
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    cards = re.findall("<article.*?</article>", text, re.DOTALL)
    words = [re.findall("<span.*?>(.*?)</span>", card) for card in cards]
    assert words == [["a", "red", "cat"], [], ["a", "cat"]]
    (black, *_), _, (bright, *_) = [
        re.findall('webp;base64,(.*?)"', card) or [""] for card in cards
    ]
    peaks = [
        np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data)))).max()
        for data in (black, bright)
    ]
    assert peaks[0] < 10 and peaks[1] > 180
    assert html.escape(evaluator.NOTE) in text
