"""One writer eagerly, in a graph, with XLA and in a SavedModel."""

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.data.text import SPECIAL_TOKENS
from tf_prompt.data.vocabulary import WordVocabulary
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference.captioner import CaptionerModel
from tf_prompt.models import presets
from tf_prompt.serving.signatures import Servable

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
SMALL = {
    "image_size": 16,
    "conv_filters": (16,),
    "embedding_dim": 16,
    "vocab_size": 40,
    "max_tokens": 7,
}
SIZES = {
    "transformer_tiny": {"num_encoder_layers": 0, "num_decoder_layers": 1},
    "lstm_tiny": {"units": 16, "attention_units": 8},
}


def build_model(name):
    captioner = presets.build(name, **SMALL, **SIZES[name])
    # Weights that do not depend on what ran before: prompts must differ.
    for number, weight in enumerate(captioner.trainable_variables):
        if len(weight.shape) > 1:
            drawn = tf.random.stateless_normal(weight.shape, [number, 1])
            weight.assign(drawn / weight.shape[-2] ** 0.5)
    # Wide, so that the likeliest word is far from the next.
    kernel = captioner.output_proj.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
    vocabulary = [*SPECIAL_TOKENS, *map(str, range(40 - len(SPECIAL_TOKENS)))]
    return captioner, WordVocabulary(vocabulary)


@pytest.mark.parametrize(
    "name, options",
    [
        ("transformer_tiny", {}),
        ("lstm_tiny", {}),
        # Compiling a search takes XLA ten seconds.
        pytest.param("lstm_tiny", {"num_beams": 3}, marks=pytest.mark.slow),
    ],
)
def test_xla_writes_the_same(name, options):
    model, vocabulary = build_model(name)
    plain = CaptionerModel(model, vocabulary, DecodingConfig(**options))
    compiled = CaptionerModel(model, vocabulary, DecodingConfig(**options, xla=True))
    expected, found = plain.describe(PICTURES), compiled.describe(PICTURES)
    assert len(set(expected["prompt"].numpy())) > 1
    np.testing.assert_array_equal(found["prompt"], expected["prompt"])
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)
    tf.config.run_functions_eagerly(True)
    eager = plain.describe(PICTURES)
    tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(eager["prompt"], expected["prompt"])


def test_xla_compiles_the_loop_alone():
    model, vocabulary = build_model("transformer_tiny")
    writer = CaptionerModel(model, vocabulary, DecodingConfig(xla=True))
    graph = writer.serve.get_concrete_function().graph.as_graph_def()
    compiled = [f for f in graph.library.function if f.attr["_XlaMustCompile"].b]
    assert len(compiled) == 1
    operations = {node.op for node in compiled[0].node_def}
    others = [f.node_def for f in graph.library.function if f not in compiled]
    assert "Conv2D" in {node.op for nodes in others for node in nodes}
    assert "Conv2D" not in operations


def test_xla_is_not_exported():
    model, vocabulary = build_model("transformer_tiny")
    writer = CaptionerModel(model, vocabulary, DecodingConfig(xla=True))
    with pytest.raises(ValueError, match="`xla` must be off in an export"):
        Servable(writer)


def test_xla_goes_without_sampling():
    """From one seed, TensorFlow and XLA draw different numbers."""
    with pytest.raises(ValueError, match="xla and sample exclude each other"):
        DecodingConfig(sample=True, xla=True)
