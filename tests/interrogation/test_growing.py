import functools

import keras_hub
import numpy as np
import pytest

from tf_prompt.interrogation import phrase_store
from tf_prompt.interrogation.growing import Grower
from tf_prompt.models import clip
from tf_prompt.models.interrogator import CLIPInterrogator

VOCAB_SIZE, MAX_TOKENS = 40, 12


class LetterTokens:
    """Letters as tokens between a start and an end, cut as CLIP's are."""

    def __init__(self, start, end):
        self.start, self.end, self.max_tokens = start, end, MAX_TOKENS

    def rows(self, texts):
        rows = [[ord(letter) - 92 for letter in text] for text in texts]
        rows = [[self.start, *row[: MAX_TOKENS - 2], self.end] for row in rows]
        return [np.array(row, np.int32) for row in rows]

    def pad(self, rows):
        length = max(map(len, rows))
        return np.stack([np.pad(row, (0, length - len(row))) for row in rows])


@functools.cache
def build_clip(precision=None):
    vision = keras_hub.models.CLIPVisionEncoder(8, 8, 1, 1, 8, image_shape=(8, 8, 3))
    text = keras_hub.models.CLIPTextEncoder(
        VOCAB_SIZE, 16, 16, 2, 2, 32, max_sequence_length=MAX_TOKENS
    )
    return stir(keras_hub.models.CLIPBackbone(vision, text, 12), precision)


@functools.cache
def build_metaclip(precision=None):
    vision = keras_hub.models.MetaCLIP2VisionEncoder(
        8, 8, 1, 1, 8, image_shape=(8, 8, 3)
    )
    text = keras_hub.models.MetaCLIP2TextEncoder(
        VOCAB_SIZE, 16, 16, 2, 2, 32, max_sequence_length=MAX_TOKENS
    )
    return stir(keras_hub.models.MetaCLIP2Backbone(vision, text, 12), precision)


def stir(backbone, precision):
    """Makes new weights so large that what a token looks at matters."""
    model = CLIPInterrogator(clip.describe(backbone), dtype=precision)
    rng = np.random.default_rng(0)
    for weight in model.text_network.trainable_weights:
        weight.assign(rng.normal(0, 0.4, weight.shape))
    return model


BASES = ["abc", "", "abcdefghijklm", "ab"]
GROWN = [
    ("abcde", 0), ("abc", 0), ("xabc", 0), ("abxc", 0), ("f", 1), ("abcdefghijklmn", 2),
    ("abcdezz", 2), ("abbbb", 3), ("abcde", 3),
]  # fmt: skip


@pytest.mark.parametrize(
    "build, start, end, tokens_at_once",
    [(build_clip, 38, 39, 1), (build_clip, 38, 39, 4096), (build_metaclip, 0, 2, 4096)],
    ids=["CLIP, text by text", "CLIP", "MetaCLIP 2"],
)
def test_grown_texts_are_embedded_as_whole_ones(
    build, start, end, tokens_at_once, monkeypatch
):
    model, tokens = build(), LetterTokens(start, end)
    texts, owners = zip(*GROWN, strict=True)
    expected = phrase_store.embed_texts(model, tokens, texts)
    # Hundreds of tolerances apart, so that a wrong beginning would show.
    assert np.triu(expected @ expected.T, 1)[:-1, :-1].max() < 0.99999
    monkeypatch.setattr(phrase_store, "_TOKENS_AT_ONCE", tokens_at_once)
    found = Grower(model, tokens)(texts, BASES, owners)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_what_is_new_is_read(monkeypatch):
    tokens, read = LetterTokens(38, 39), []

    def pad(rows):
        read.append([len(row) for row in rows])
        return LetterTokens.pad(tokens, rows)

    monkeypatch.setattr(tokens, "pad", pad)
    Grower(build_clip(), tokens)(["abcdef", "abcdeg"], ["abcd"], [0, 0])
    # The chain with its start and end; of each text two letters and the end.
    assert read == [[6], [3, 3]]


def test_halves_agree():
    tokens = LetterTokens(38, 39)
    texts, owners = zip(*GROWN, strict=True)
    half = build_clip("float16")
    found = Grower(half, tokens)(texts, BASES, owners)
    assert found.dtype == np.float32
    expected = phrase_store.embed_texts(half, tokens, texts)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_a_tower_that_sees_all_of_a_text_reads_all_of_it():
    class Model:
        is_causal, embedding_dim = False, 2
        text_network = property(lambda self: self)

        def predict_on_batch(self, token_ids):
            return np.stack([token_ids.sum(1), token_ids.max(1)], axis=1)

    tokens = LetterTokens(38, 39)
    found = Grower(Model(), tokens)(["ab", "c"], ["a"], [0, 0])
    np.testing.assert_array_equal(found, [[38 + 5 + 6 + 39, 39], [38 + 7 + 39, 39]])
