"""A captioner of subwords: its text, its export, where it looked."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tests.inference.test_captioner import PICTURES, SIZES, SMALL
from tf_prompt.data import vocabulary
from tf_prompt.data.text import END_ID, SPECIAL_TOKENS
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference.captioner import CaptionerModel
from tf_prompt.inference.embedding_models import EnsembleModel
from tf_prompt.inference.prompt_tokens import PromptTokens
from tf_prompt.models import presets
from tf_prompt.serving import versions
from tf_prompt.serving.saved_model import SIGNATURE, SavedPromptWriter
from tf_prompt.serving.signatures import Servable

PROMPT = "Ærø castle, 8k ☕ (détail:1.2) 👩‍🚀"


@pytest.fixture(scope="module")
def words():
    return vocabulary.build_subwords([PROMPT, PROMPT, "a castle, 4k"], 400)


@pytest.fixture(scope="module")
def captioner(words):
    sizes = {**SMALL, **SIZES["lstm_tiny"], "vocab_size": len(words), "max_tokens": 9}
    network = presets.build("lstm_tiny", **sizes)
    # Wide weights, so that prompts of random weights differ: any bytes come.
    kernel = network.output_proj.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
    return CaptionerModel(network, words)


def padded(ids):
    return tf.constant([[*ids, END_ID, END_ID]])


def test_ids_become_the_prompt_again(words):
    tokens = PromptTokens(words)
    found = tokens.join(padded(words.encode(PROMPT)))
    assert found.numpy()[0].decode() == PROMPT
    pieces = tokens.each(padded(words.encode("a castle, 8k"))).numpy()[0]
    assert b"".join(pieces) == b"a castle, 8k"


def test_a_letter_that_was_cut_is_left_out(words):
    tokens = PromptTokens(words)
    plain = vocabulary.build_subwords(["x"], 260)
    ids = plain.encode("a 👩")
    for count in (len(ids) - 1, len(ids) - 2):
        found = PromptTokens(plain).join(tf.constant([ids[:count]]))
        assert found.numpy()[0] == b"a"
    assert tokens.join(padded([])).numpy()[0] == b""


def test_words_share_the_weights_of_their_pieces(words):
    ids, found, parts = PromptTokens(words).split("a castleton, 8k")
    assert found == ["a", "castleton,", "8k"] == "a castleton, 8k".split()
    assert parts.shape == (3, len(ids)) and (np.count_nonzero(parts, axis=0) == 1).all()
    np.testing.assert_allclose(parts.sum(axis=1), 1)
    # In order, each word after those before it.
    assert (np.diff(parts.argmax(axis=0)) >= 0).all()


def test_written_text_is_always_a_line_of_utf8(captioner):
    images = np.random.default_rng(1).integers(0, 256, (64, 16, 16, 3)).astype("u1")
    prompts = [text.decode() for text in captioner.describe(images)["prompt"].numpy()]
    assert len(set(prompts)) > 8
    assert all(len(prompt.splitlines()) <= 1 for prompt in prompts)
    assert not any(token in "".join(prompts) for token in SPECIAL_TOKENS)


def test_export_writes_the_same_without_python(captioner, tmp_path):
    path = versions.export(Servable(captioner), tmp_path / "m", [], [])
    saved = SavedPromptWriter(path)
    assert set(saved.inputs) == {"serving_default", "pixels", "beam", "attention"}
    expected = captioner.describe(PICTURES)["prompt"].numpy()
    np.testing.assert_array_equal(saved.run("pixels", PICTURES)["prompt"], expected)


class Dictation:
    """Stands in for a captioner: it writes one prompt for every picture."""

    image_size = 16

    def __init__(self, ids, vocab_size):
        self.max_tokens = len(ids) + 1
        self._logits = tf.one_hot([*ids, END_ID], vocab_size, 9.0)

    def encode(self, images):
        rows = tf.zeros((tf.shape(images)[0], 1))
        return (rows,), (rows,)

    def step(self, token_ids, position, state, memory):
        logits = tf.gather(self._logits, position)[None]
        return tf.tile(logits, [tf.size(token_ids), 1]), state

    def attend(self, images, token_ids):
        return tf.ones((tf.shape(images)[0], self.max_tokens, 1))

    def extract_features(self, images, training=None):
        return tf.zeros((tf.shape(images)[0], 1))


def test_an_export_writes_every_byte_of_a_prompt(words, tmp_path):
    """Commas, digits, accents and emoji, through all that a server computes."""
    network = Dictation(words.encode(PROMPT), len(words))
    servable = Servable(CaptionerModel(network, words))
    # The others are of the export above.
    default = types.SimpleNamespace(
        signatures={SIGNATURE: servable.signatures[SIGNATURE]},
        image_size=servable.image_size,
    )
    path = versions.export(default, tmp_path / "m")
    saved = SavedPromptWriter(path)
    image = tf.io.encode_png(PICTURES[0]).numpy()
    assert [text.decode() for text in saved([image] * 2)["prompt"]] == [PROMPT] * 2


def test_ensembles_of_it_are_not_exported(captioner):
    ensemble = EnsembleModel(None, [captioner], "both")
    with pytest.raises(ValueError, match="members must embed in a graph.* subwords"):
        ensemble.require_exportable()


def test_reranking_is_not_exported(captioner, words, monkeypatch):
    options = DecodingConfig(rerank=2, sample=True)
    reranked = CaptionerModel(captioner.network, words, options, embedder=object())
    with pytest.raises(ValueError, match="`rerank` must be 0 in an export"):
        reranked.require_exportable()


def test_what_it_is_compared_with_is_raw(captioner):
    assert captioner.is_raw
    assert captioner.reference("A  castle,\n8k", "a castle") == "A castle, 8k"
