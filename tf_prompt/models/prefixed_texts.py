"""Texts that begin alike, through a causal text tower: the beginning is read once."""

import keras
from keras import ops


class PrefixedTexts(keras.Model):
    """The text tower of a CLIP or MetaCLIP 2, from somewhere inside the texts on.

    No token sees those behind it, so that what a tower makes of a text's beginning is
    the same whatever follows. The result is that of the whole text.

    Args:
        backbone: `CLIPBackbone` or `MetaCLIP2Backbone`, whose layers it shares.
        keeps: whether keys and values are given, for texts that begin like these.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: dict of
            `token_ids`, int `(texts, tokens)`: the rest of each text, then anything;
            `starts`, int `(texts,)`: tokens of each that were read before;
            `ends`, int `(texts,)`: where in `token_ids` the end token stands;
            `owners`, int `(texts,)`: which row of `keys` and `values` is a text's;
            `keys`, `values`: `(rows, layers, prefix, heads, head_dim)`, of an earlier
            call; beyond `starts` they are not looked at.

    Returns:
        keys and values, `(texts, layers, tokens, heads, head_dim)`, if it keeps them;
        else the embeddings, float32 `(texts, dim)`, of unit length.
    """

    def __init__(self, backbone, keeps=False, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.keeps = keeps

    @property
    def empty(self):
        """Shape of a row of `keys` and `values` with nothing read."""
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
        # Behind its end a text may reach beyond the table.
        places = ops.minimum(places, table.shape[0] - 1)
        return x + ops.cast(ops.take(table, places, axis=0), x.dtype)

    def _mask(self, inputs, x):
        """True where a token may look, `(texts, 1, tokens, prefix + tokens)`."""
        num_texts, length = ops.shape(x)[0], ops.shape(x)[1]
        prefix = ops.arange(ops.shape(inputs["keys"])[2])
        before = prefix[None] < inputs["starts"][:, None]
        before = ops.tile(before[:, None], (1, length, 1))
        places = ops.arange(length)
        own = places[:, None] >= places[None]
        own = ops.tile(own[None], (num_texts, 1, 1))
        return ops.concatenate([before, own], axis=2)[:, None]


def _attend(block, x, before, mask):
    """Attention of a block to what was read before and to the tokens themselves."""
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
