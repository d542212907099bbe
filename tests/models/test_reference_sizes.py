"""The parameter counts of Kalisz's tables, row by row."""

import math

import keras
import pytest

from tf_prompt.models import presets

BACKBONE = 23_508_032
BATCH_NORM_STATISTICS = 53_120


def count(layer):
    return sum(math.prod(weight.shape) for weight in layer.weights)


def count_trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def build(name):
    """A model of shapes alone: no weight is drawn."""
    with keras.StatelessScope(initialize_variables=False):
        return presets.build(name)


@pytest.fixture(scope="module")
def lstm():
    return build("lstm_base")


@pytest.fixture(scope="module")
def transformer():
    return build("transformer_base")


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_backbone(name, request):
    model = request.getfixturevalue(name)
    backbone = model.image_encoder.get_layer("backbone")
    assert count(backbone) == BACKBONE + BATCH_NORM_STATISTICS
    assert not backbone.trainable_weights
    assert model.image_encoder.output_shape == (None, 49, 2048)
    assert count(model.embedding) == 23_891_968


def test_lstm(lstm):
    attention = lstm.attention
    assert count(attention.state_proj) == 131_328
    assert count(attention.region_proj) == 524_544
    assert count(attention.score) == 257
    assert count(lstm.initial_hidden) == 1_049_088
    assert count(lstm.initial_carry) == 1_049_088
    # Keras has one bias vector where PyTorch has two.
    assert count(lstm.cell) == 6_295_552 - 2_048
    assert count(lstm.gate) == 1_050_624
    assert count(lstm.output_proj) == 23_938_632
    assert count(lstm) - BATCH_NORM_STATISTICS == 81_439_113 - 2_048
    assert count_trainable(lstm) == 57_931_081 - 2_048


def test_transformer(transformer):
    assert [count(block) for block in transformer.encoder_blocks] == [34_099_392] * 2
    assert count(transformer.encoder_norm) == 4_096
    assert [count(block) for block in transformer.decoder_blocks] == [2_562_944] * 2
    assert count(transformer.decoder_norm) == 1_024
    assert count(transformer.output_proj) == 23_938_632
    assert count(transformer) - BATCH_NORM_STATISTICS == 144_668_424
    assert count_trainable(transformer) == 121_160_392
