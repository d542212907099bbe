"""What `attend` tells, against the same sums done with numpy, and its cost."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_captioners import build, inputs
from tf_prompt.layers.transformer import EPSILON


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def normalise(x, layer):
    scale, offset = (np.array(weight) for weight in layer.weights)
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + EPSILON)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation * scale + offset


def look(x, values, layer, mask=None):
    """Multi-head attention by its formula: output, and weights a head."""
    weights = [np.array(weight, np.float64) for weight in layer.weights]
    (q, bq), (k, bk), (v, bv), (o, bo) = zip(weights[::2], weights[1::2], strict=True)
    queries = np.einsum("btd,dhk->bhtk", x, q) + bq[None, :, None]
    keys = np.einsum("brd,dhk->bhrk", values, k) + bk[None, :, None]
    values = np.einsum("brd,dhk->bhrk", values, v) + bv[None, :, None]
    scores = np.einsum("bhtk,bhrk->bhtr", queries, keys) / q.shape[-1] ** 0.5
    found = softmax(scores if mask is None else np.where(mask, scores, -np.inf))
    return np.einsum("bhtr,bhrk,hkd->btd", found, values, o) + bo, found


def dense(x, layer):
    kernel, bias = (np.array(weight, np.float64) for weight in layer.weights)
    return x @ kernel + bias


def run_block(block, tokens, regions):
    """A decoder block: its output, and its look at the regions."""
    causal = np.tri(tokens.shape[1], dtype=bool)
    x = normalise(tokens, block.attention_norm)
    tokens = tokens + look(x, x, block.attention, causal)[0]
    x = normalise(tokens, block.cross_attention_norm)
    seen, weights = look(x, regions, block.cross_attention)
    tokens = tokens + seen
    x = np.maximum(dense(normalise(tokens, block.feed_forward_norm), block.expand), 0)
    return tokens + dense(x, block.contract), weights.mean(axis=1)


def shake(model):
    """Gives every weight a value of its own: zero biases would hide a lost one."""
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        noise = generator.normal(0, 0.1, weight.shape).astype("float32")
        weight.assign_add(noise)


def test_transformer_attends_as_its_formula_says():
    model, batch = build("transformer_tiny"), inputs()
    shake(model)
    assert len(model.decoder_blocks) == 2
    tokens = np.array(model._embed(batch["token_ids"]), np.float64)
    regions = np.array(model._read_image(batch["images"], False), np.float64)
    expected = []
    for block in model.decoder_blocks:
        tokens, weights = run_block(block, tokens, regions)
        expected.append(weights)
    found = np.array(model.attend(batch["images"], batch["token_ids"]))
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)
    # Uniform weights would pass with any mistake.
    assert np.ptp(found, axis=-1).max() > 0.02


def test_a_block_that_tells_its_weights_writes_the_same():
    model = build("transformer_tiny")
    shake(model)
    block = model.decoder_blocks[0]
    tokens = keras.random.normal((2, 5, block.width), seed=1)
    regions = keras.random.normal(
        (2, 16, block.cross_attention._key_dense.kernel.shape[0]), seed=2
    )
    told, _ = block.attend(tokens, regions)
    np.testing.assert_allclose(told, block(tokens, regions), atol=1e-5)


def test_lstm_attends_as_each_state_does():
    model, batch = build("lstm_tiny"), inputs()
    shake(model)
    state, memory = model.encode(batch["images"])
    expected = []
    for position in range(batch["token_ids"].shape[1]):
        expected.append(np.array(model.attention(state[0], *memory)[1]))
        tokens = tf.constant(batch["token_ids"])[:, position]
        _, state = model.step(tokens, position, state, memory)
    found = np.array(model.attend(batch["images"], batch["token_ids"]))
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-6)
    assert np.ptp(found, axis=1).max() > 1e-4


@pytest.mark.parametrize(
    "name, parts, times",
    [
        ("transformer_tiny", ("attention", "cross_attention"), 1),
        ("lstm_tiny", ("attention",), 6),
    ],
)
def test_nothing_is_computed_twice(name, parts, times, monkeypatch):
    model, batch = build(name), inputs()
    assert batch["token_ids"].shape[1] == 6
    calls = []
    for block in getattr(model, "decoder_blocks", [model]):
        for part in parts:
            layer = getattr(block, part)
            counted = _count(layer.call, (id(block), part), calls)
            monkeypatch.setattr(layer, "call", counted)
    model.attend(batch["images"], batch["token_ids"])
    assert set(map(calls.count, calls)) == {times}
    assert len(set(calls)) == len(parts) * len(getattr(model, "decoder_blocks", [0]))


def _count(call, key, calls):
    def counted(*args, **kwargs):
        calls.append(key)
        return call(*args, **kwargs)

    return counted
