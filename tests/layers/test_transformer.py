import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tf_prompt.layers.transformer import DecoderBlock, EncoderBlock

SIZES = {
    "width": 8,
    "num_heads": 2,
    "head_dim": 3,
    "hidden_dim": 16,
    "dropout_rate": 0.0,
}


def random(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def test_encoder_block_contract():
    output = checks.check_layer(EncoderBlock(**SIZES), random(2, 5, 8))
    assert output.shape == (2, 5, 8)


def test_encoder_block_knows_no_order():
    block = EncoderBlock(**SIZES)
    regions = random(1, 5, 8)
    np.testing.assert_allclose(
        block(regions)[:, ::-1], block(regions[:, ::-1].copy()), atol=1e-5
    )


def test_decoder_block_contract():
    output = checks.check_layer(DecoderBlock(**SIZES), random(2, 4, 8), random(2, 5, 6))
    assert output.shape == (2, 4, 8)


def test_decoder_block_never_looks_ahead():
    block = DecoderBlock(**SIZES)
    tokens, regions = random(1, 4, 8), random(1, 5, 6)
    before = block(tokens, regions)
    tokens[:, 3] = 9.0
    after = block(tokens, regions)
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert np.abs(before[:, 3] - after[:, 3]).max() > 0.1


def test_steps_equal_the_whole():
    block = DecoderBlock(**SIZES)
    tokens, regions = random(2, 4, 8), random(2, 5, 6)
    whole = block(tokens, regions)
    region_cache = block.project_regions(regions)
    cache = block.empty_cache(2, 7, "float32")
    for position in range(4):
        token = tf.constant(tokens[:, position])
        output, cache = block.step(token, position, cache, region_cache)
        np.testing.assert_allclose(output, whole[:, position], atol=1e-5)


@pytest.mark.parametrize("block_class", [EncoderBlock, DecoderBlock])
def test_float16_stays_finite(block_class):
    block = block_class(**SIZES, dtype="float16")
    inputs = [100 * random(2, 4, 8), 100 * random(2, 5, 6)]
    output = block(*inputs[: 1 if block_class is EncoderBlock else 2])
    assert output.dtype == "float16"
    assert np.isfinite(output).all()


@pytest.mark.parametrize("name", ["width", "num_heads", "head_dim", "hidden_dim"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be positive. Received"):
        EncoderBlock(**{**SIZES, name: 0})
