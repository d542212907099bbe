"""A captioner that reads prompts: what it may read, and that it can copy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.data.text import END_ID, PAD_ID, START_ID, UNK_ID
from tf_prompt.decoding.rules import Rules
from tf_prompt.decoding.search import Search
from tf_prompt.layers.reading import PromptReader
from tf_prompt.models.presets import PRESETS
from tf_prompt.models.reader import ReadingCaptioner

TOKENS = 6
PROMPTS = np.array(
    [[4, 5, 6, END_ID, 0, 0], [7, 8, END_ID, 0, 0, 0], [9] * 5 + [END_ID]]
)


def build(**overrides):
    arguments = {
        **PRESETS["transformer_tiny"][1],
        **{"image_size": 32, "conv_filters": (8, 16), "vocab_size": 20},
        **{"index_size": 3, "num_prompts": 2, "max_tokens": TOKENS},
        **{"embedding_dim": 16, "num_decoder_layers": 1},
    }
    model = ReadingCaptioner(**{**arguments, **overrides})
    features = model.extract_features(pictures())
    model.fill_index(features, PROMPTS, [1, 2, 3])
    return model


@pytest.fixture(scope="module")
def model():
    """A captioner that no test changes."""
    keras.utils.set_random_seed(0)
    return build()


def pictures():
    """One red, one green, one blue."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3))
    return tf.constant(noise * np.eye(3, dtype=int)[:, None, None], tf.uint8)


def inputs():
    rng = np.random.default_rng(1)
    token_ids = tf.constant(rng.integers(4, 20, (3, TOKENS)), tf.int32)
    return {"images": pictures(), "token_ids": token_ids}


def test_model_contract(tmp_path):
    checks.check_model(build(), inputs(), tmp_path)


def test_the_output_is_a_distribution(model):
    logits = model(inputs())
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(logits), -1), 1, atol=1e-5)


def test_losses_are_those_of_the_output(model):
    batch = inputs()
    logits = model(batch)
    call = tf.function(model, autograph=False)
    found = call({**batch, "target_ids": batch["token_ids"]})
    expected = -tf.gather(logits, batch["token_ids"], batch_dims=2)
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-4)


@pytest.mark.parametrize("prompts", [1, 2])
def test_steps_give_the_output_of_the_whole(model, prompts):
    images = pictures()
    rng = np.random.default_rng(2)
    ids = tf.constant(rng.integers(4, 20, (3 * prompts, TOKENS)), tf.int32)
    repeated = tf.repeat(images, prompts, axis=0)
    whole = model({"images": repeated, "token_ids": ids})
    state, memory = model.encode(images)
    state = tf.nest.map_structure(lambda x: tf.repeat(x, prompts, axis=0), state)
    for position in range(TOKENS):
        logits, state = model.step(ids[:, position], position, state, memory)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-4)


def test_images_of_the_same_family_are_not_read():
    model, batch = build(num_prompts=1), inputs()
    regions = model.extract_regions(batch["images"])
    _, found = model._find(regions)
    np.testing.assert_array_equal(found, PROMPTS)
    _, hidden = model._find(regions, tf.constant([1, 2, 3]))
    assert not (hidden.numpy() == PROMPTS).all(axis=1).any()
    # With nothing left to read there is no NaN.
    alone = model({**batch, "families": tf.constant([1, 1, 1])})
    model.index_families.assign([1, 1, 1])
    nothing = model({**batch, "families": tf.constant([1, 1, 1])})
    assert np.isfinite(alone).all() and np.isfinite(nothing).all()


def test_an_open_gate_copies_the_nearest_prompt():
    model = build(num_prompts=1)
    kernel, bias = model.reader.gate_proj.get_weights()
    model.reader.gate_proj.set_weights([kernel * 0, bias * 0 + 30])
    # Keys of the word before, queries of the last written word: what follows it.
    for name, part in (("key_proj", slice(0, 16)), ("query_proj", slice(0, 16))):
        layer = getattr(model.reader, name)
        weights = layer.get_weights()[0] * 0
        weights[part] = 30 * np.eye(16)
        layer.set_weights([weights, np.zeros(16)])
    words = model._scale(model.embedding(np.arange(20)))
    model._decode = lambda ids, regions, training: tf.gather(words, ids)
    state, memory = model.encode(pictures())
    written = []
    token = tf.constant([4, 7, 9])
    model._advance = lambda ids, *rest: (tf.gather(words, ids), state)
    for position in range(2):
        logits, _ = model.step(token, position, state, memory)
        token = tf.argmax(logits, axis=-1, output_type=tf.int32)
        written.append(token.numpy()[:2].tolist())
    assert written == [[5, 8], [6, END_ID]]


def test_beams_and_greedy_run_in_a_graph(model):
    rules = Rules((PAD_ID, UNK_ID, START_ID))
    search = Search(model.step, END_ID, TOKENS, rules)

    @tf.function(autograph=False)
    def write(images):
        state, memory = model.encode(images)
        starts = tf.fill([3], START_ID)
        greedy = search.greedy(state, memory, starts)
        return greedy, search.beams(state, memory, starts, 2)

    (_, scores, _), (_, best, _) = write(pictures())
    assert np.isfinite(scores).all() and best.shape == (3, 2)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`label_smoothing` must be 0"):
        build(label_smoothing=0.1)
    with pytest.raises(ValueError, match="index_size"):
        build(index_size=0)
    with pytest.raises(ValueError, match="width"):
        PromptReader(0)
