"""A tokenizer in a graph against the tokenizer itself."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.inference.graph_embedder import PartEmbedder
from tf_prompt.metrics import prompt_embedder

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "##s", "of", ","]
PIECES += ["paint", "##ing", "cafe", "!", "3", "##d", "'"]
PARTS = ["cats", "painting", "of", "a", "Café", "unheard", "cats,", "3d", "a!'s", ""]


@pytest.fixture(scope="module")
def embedder():
    """A network of MiniLM's form: the mean of what its tokens are, and where."""
    tokenizer = keras_hub.tokenizers.BertTokenizer(PIECES, lowercase=True)
    preprocess = keras_hub.models.BertTextEmbedderPreprocessor(tokenizer, 256)
    shape = {"shape": (None,), "dtype": "int32"}
    ids, mask = (keras.Input(**shape, name=n) for n in ("token_ids", "padding_mask"))
    vectors = keras.layers.Embedding(len(PIECES), prompt_embedder.EMBEDDING_DIM)(ids)
    kept = keras.ops.cast(mask, "float32")[..., None]
    places = keras.ops.cumsum(kept, axis=1)
    mean = keras.ops.sum(vectors * kept * places, axis=1) / keras.ops.sum(kept, axis=1)
    return prompt_embedder.PromptEmbedder(
        preprocess, keras.Model([ids, mask], mean), "tiny"
    )


@pytest.mark.parametrize(
    "prompts",
    [
        [[1, 2, 0]],
        [[3, 0, 6, 1], [], [5], [8, 7, 4], [9, 3]],
        # Longer than what is read of a text.
        [[1] * 200, [0] * 126 + [3], [0] * 127],
    ],
    ids=["one", "of any length", "too long"],
)
def test_parts_are_embedded_as_their_text(embedder, prompts):
    embed = tf.function(
        PartEmbedder(PARTS, embedder),
        input_signature=[tf.RaggedTensorSpec((None, None), tf.int32)],
        autograph=False,
    )
    found = embed(tf.ragged.constant(prompts, tf.int32, ragged_rank=1))
    texts = [" ".join(PARTS[part] for part in prompt) for prompt in prompts]
    expected = prompt_embedder.embed(texts, embedder)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_parts_are_embedded_as_by_minilm(minilm):
    words = ["hyperrealistic", "portrait", "of", "george", "washington", "3d", "naïve"]
    prompts = [[0, 1, 2, 3, 4], [6, 5], []]
    found = PartEmbedder(words, minilm)(tf.ragged.constant(prompts, tf.int32))
    texts = [" ".join(words[part] for part in prompt) for prompt in prompts]
    np.testing.assert_allclose(found, prompt_embedder.embed(texts, minilm), atol=1e-5)
