"""Embeds texts with a common beginning, which the text tower reads only once."""

import keras
from keras import ops


class PrefixedTexts(keras.Model):
    """The text tower of a CLIP or MetaCLIP 2, with cached keys and values.

    Its attention is causal, so the keys and values of a text's beginning do not depend
    on what follows. Results are equal to those of reading whole texts.

    Args:
        backbone: `CLIPBackbone` or `MetaCLIP2Backbone`; its layers are shared.
        keeps: whether to return keys and values instead of embeddings.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: dict of
            `token_ids`, int `(texts, tokens)`: the tokens after the cached ones, with
            any padding;
            `starts`, int `(texts,)`: the number of cached tokens of each text;
            `ends`, int `(texts,)`: the position of the end token in `token_ids`;
            `owners`, int `(texts,)`: the row of `keys` and `values` for each text;
            `keys`, `values`: `(rows, layers, prefix, heads, head_dim)`, from an
            earlier call; entries from `starts` on are ignored.

    Returns:
        With `keeps`, keys and values, each `(texts, layers, tokens, heads, head_dim)`;
        else the embeddings, float32 `(texts, dim)`, of unit length.
    """

    def __init__(self, backbone, keeps=False, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.keeps = keeps

    @property
    def empty(self):
        """Shape of one row of `keys` and `values` for one token, for the first call."""
        blocks = self.backbone.text_encoder.encoder_layers
        heads = blocks[0].num_heads
        return (len(blocks), 1, heads, blocks[0].hidden_dim // heads)

    def call(self, inputs):
        tower = self.backbone.text_encoder
        starts, owners = inputs["starts"], inputs["owners"]
        x = self._embed(inputs["token_ids"], starts)
        mask = self._mask(inputs, x)
        keys, values = [], []
        for index, block in enumerate(tower.encoder_layers):
            before = [
                ops.take(inputs[name][:, index], owners, axis=0)
                for name in ("keys", "values")
            ]
            attended, key, value = _attend(block, x, before, mask)
            x = x + attended
            hidden = block.activation(block.dense_1(block.layer_norm_2(x)))
            x = x + block.dense_2(hidden)
            keys.append(key)
            values.append(value)
        if self.keeps:
            return ops.stack(keys, axis=1), ops.stack(values, axis=1)
        last = ops.take_along_axis(x, inputs["ends"][:, None, None], axis=1)[:, 0]
        embeddings = self.backbone.text_projection(tower.layer_norm(last))
        return ops.normalize(ops.cast(embeddings, "float32"), axis=-1)

    def _embed(self, token_ids, starts):
        embedding = self.backbone.text_encoder.embedding
        table = embedding.position_embedding.position_embeddings
        x = embedding.token_embedding(token_ids)
        places = starts[:, None] + ops.arange(ops.shape(token_ids)[1])[None]
        # Padding may reach beyond the table.
        places = ops.minimum(places, table.shape[0] - 1)
        return x + ops.cast(ops.take(table, places, axis=0), x.dtype)

    def _mask(self, inputs, x):
        """True where a token may attend, bool `(texts, 1, tokens, prefix + tokens)`."""
        num_texts, length = ops.shape(x)[0], ops.shape(x)[1]
        prefix = ops.arange(ops.shape(inputs["keys"])[2])
        before = prefix[None] < inputs["starts"][:, None]
        before = ops.tile(before[:, None], (1, length, 1))
        places = ops.arange(length)
        own = places[:, None] >= places[None]
        own = ops.tile(own[None], (num_texts, 1, 1))
        return ops.concatenate([before, own], axis=2)[:, None]


def _attend(block, x, before, mask):
    """Attends to the cached keys and values and to the tokens themselves."""
    attention = block.attention
    x = block.layer_norm_1(x)
    query = attention.query_dense(x) * attention.key_dim**-0.5
    key, value = attention.key_dense(x), attention.value_dense(x)
    all_keys = ops.concatenate([before[0], key], axis=1)
    all_values = ops.concatenate([before[1], value], axis=1)
    scores = ops.einsum("nqhd,nkhd->nhqk", query, all_keys)
    scores = ops.where(mask, ops.cast(scores, "float32"), -1e9)
    weights = ops.cast(ops.softmax(scores, axis=-1), value.dtype)
    attended = ops.einsum("nhqk,nkhd->nqhd", weights, all_values)
    return attention.output_dense(attended), key, value
