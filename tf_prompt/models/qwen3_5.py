"""Qwen 3.5: attention and recurrent layers, image tokens among those of the text."""

import keras
import keras_hub
import numpy as np
from keras import ops

from tf_prompt.models.language import LanguageCaptioner, encode_text
from tf_prompt.models.portable_caches import portable_updates


@keras.saving.register_keras_serializable(package="tf_prompt")
class Qwen35Captioner(LanguageCaptioner):
    """Writes prompts with Qwen 3.5.

    This does not follow KerasHub 0.32's `generate`, which has several faults: it sees
    images outside graphs only; the order of its patches is not that of their positions;
    the positions of new tokens ignore the image; and the recurrent state reads padding,
    and the prefix's last token twice.

    Args:
        **kwargs: arguments of `LanguageCaptioner`, which also documents inputs and
            outputs. `base["arguments"]` holds those of the vision encoder as `vision`.

    Raises:
        ValueError: if patches of `image_size` pixels cannot be merged.

    Reference: https://huggingface.co/Qwen/Qwen3.5-0.8B; its linear attention, Yang et
    al., 2024, https://arxiv.org/abs/2412.06464.
    """

    backbone_class = "Qwen3_5Backbone"
    task_name, tokenizer_name = "Qwen3_5CausalLM", "Qwen3_5Tokenizer"
    request = "Write the prompt that this image was generated from."
    text_targets = ("query", "value", "in_proj_qkv")
    vision_targets = ("qkv",)

    def build_network(self):
        arguments = dict(self.base["arguments"])
        vision = arguments.pop("vision")
        side = vision["patch_size"] * vision["spatial_merge_size"]
        if self.image_size % side:
            raise ValueError(
                f"`image_size` must be a multiple of {side}. "
                f"Received: {self.image_size}"
            )
        # KerasHub does not export the encoder's class.
        config = {**vision, "out_hidden_size": arguments["hidden_dim"]}
        encoder = _encoder_class()(**config)
        backbone = keras_hub.models.Qwen3_5Backbone(
            **arguments,
            vocabulary_size=self.base_vocab_size,
            vision_encoder=encoder,
            dtype=self.dtype_policy,
        )
        return keras_hub.models.Qwen3_5CausalLM(backbone)

    def own_prefix(self, base, start, image):
        vision = base["arguments"]["vision"]
        side = self.image_size // vision["patch_size"] // vision["spatial_merge_size"]
        return [start, *[image] * side**2, start]

    @classmethod
    def find_special(cls, tokenizer, backbone):
        vision = backbone.vision_encoder
        side = cls.image_side(backbone) // vision.patch_size
        begin, end = (int(tokenizer.im_start_token_id), int(tokenizer.end_token_id))
        image = int(tokenizer.image_token_id)
        asked = [
            *[begin, *encode_text(tokenizer, "user\n")],
            int(tokenizer.vision_start_token_id),
            *[image] * (side // vision.spatial_merge_size) ** 2,
            int(tokenizer.vision_end_token_id),
            *[*encode_text(tokenizer, cls.request), end],
            *[*encode_text(tokenizer, "\n"), begin],
            *encode_text(tokenizer, "assistant\n"),
        ]
        return {"prefix_ids": asked, "end_id": end, "image_id": image}

    @classmethod
    def image_side(cls, backbone):
        vision = backbone.vision_encoder
        side = vision.patch_size * vision.spatial_merge_size
        # Any multiple works; for the published models, 384 pixels give 144 tokens.
        return 12 * side

    def vision(self, backbone):
        return [backbone.vision_encoder]

    def see(self, pixels):
        encoder = self.task().backbone.vision_encoder
        grid = self.image_size // encoder.patch_size
        patches = self.cut(pixels)
        shape = (-1, grid**2, encoder.hidden_size)
        grids = np.int32([[1, grid, grid]])
        x = encoder.patch_embed(ops.reshape(patches, (-1, *patches.shape[2:])))
        x = ops.reshape(ops.cast(x, "float32"), shape)
        x += encoder._fast_pos_embed_interpolate(grids)
        rotary = encoder._rot_pos_emb(grids)
        for block in encoder.blocks:
            x += _attend(block.attn, block.norm1(x), rotary)
            x += block.mlp(block.norm2(x))
        merged = encoder.merger(ops.reshape(x, (-1, encoder.hidden_size)))
        num_tokens = (grid // encoder.spatial_merge_size) ** 2
        return ops.reshape(merged, (-1, num_tokens, encoder.out_hidden_size))

    def cut(self, pixels):
        """Cuts scaled images into patches; patches to be merged are consecutive.

        Args:
            pixels: float `(batch, image_size, image_size, 3)`.

        Returns:
            `(batch, patches, frames, patch_size, patch_size, 3)`; the frames are equal.
        """
        encoder = self.task().backbone.vision_encoder
        size, merged = encoder.patch_size, encoder.spatial_merge_size
        side = self.image_size // size // merged
        x = ops.cast(pixels, "float32")
        x = ops.reshape(x, (-1, side, merged, size, side, merged, size, 3))
        x = ops.transpose(x, (0, 1, 4, 2, 5, 3, 6, 7))
        x = ops.reshape(x, (-1, (side * merged) ** 2, 1, size, size, 3))
        return ops.tile(x, (1, 1, encoder.temporal_patch_size, 1, 1, 1))

    def read(self, pixels, token_ids):
        backbone, joined = self.task().backbone, self.join_prefix(token_ids)
        batch, length = ops.shape(joined)[0], ops.shape(joined)[1]
        # The recurrence is unrolled, for which the length must be known.
        room = len(self.base["prefix_ids"]) + self.max_tokens - 1
        rest = ops.zeros((batch, self.max_tokens), joined.dtype)
        joined = ops.concatenate([joined, rest], axis=1)[:, :room]
        x = self._embed(ops.reshape(joined, (-1, room)), self.see(pixels))
        for layer in backbone.transformer_layers:
            x = layer(x, position_ids=self._positions(batch)[..., :room])
        return backbone.layer_norm(x)[:, :length]

    def _embed(self, token_ids, seen):
        """Embeds tokens; those of the image are replaced by what was seen."""
        x = self.task().backbone.token_embedding(token_ids)
        first = self.base["prefix_ids"].index(self.base["image_id"])
        after = first + seen.shape[1]
        seen = ops.cast(seen, x.dtype)
        return ops.concatenate([x[:, :first], seen, x[:, after:]], axis=1)

    def _positions(self, batch):
        """Positions of prefix and prompt in text, time, height and width.

        Those of an image are its start and the row and column; the text goes on after
        the longer side.
        """
        prefix = self.base["prefix_ids"]
        first, count = (f(self.base["image_id"]) for f in (prefix.index, prefix.count))
        side = round(count**0.5)
        rows, columns = np.divmod(np.arange(count), side)
        room = len(prefix) + self.max_tokens
        text = np.arange(room - first - count) + first + side
        axes = [0 * rows, 0 * rows, rows, columns]
        before = np.arange(first)
        rows = [np.concatenate([before, first + axis, text]) for axis in axes]
        return ops.tile(np.int32([rows]), (batch, 1, 1))

    def encode(self, images):
        network, backbone = self.task(), self.task().backbone
        seen = self.see(self.scale(images))
        batch, prefix = ops.shape(images)[0], self.base["prefix_ids"]
        # The first step reads the last: a recurrence must read it once.
        x = self._embed(self.prefix(batch)[:, :-1], seen)
        room = len(prefix) + self.max_tokens
        state = _empty_caches(backbone, batch, room, network.compute_dtype)
        positions = self._positions(batch)[..., : len(prefix) - 1]
        _, state = self._advance(x, state, 0, positions)
        return state, ()

    def step(self, token_ids, position, state, memory):
        here = len(self.base["prefix_ids"]) - 1 + position
        x = self.task().backbone.token_embedding(self.to_base(token_ids)[:, None])
        positions = self._positions(ops.shape(token_ids)[0])
        positions = ops.take(positions, ops.reshape(here, (1,)), axis=-1)
        hidden, state = self._advance(x, state, here, positions)
        return self.to_own_logits(self.score(hidden)[:, 0]), state

    def _advance(self, x, state, here, positions):
        """Runs all layers over tokens at `here`; returns hidden states and caches."""
        backbone, found = self.task().backbone, []
        with portable_updates():
            for index, layer in enumerate(backbone.transformer_layers):
                x, *caches = layer.call_and_update_cache(
                    x,
                    *(cache[:, index] for cache in state),
                    here,
                    position_ids=positions,
                )
                found.append(caches)
        new = [ops.stack(caches, axis=1) for caches in zip(*found, strict=True)]
        # The static batch size may be known for one of them only.
        state = tuple(
            ops.reshape(ops.cast(cache, old.dtype), (-1, *old.shape[1:]))
            for cache, old in zip(new, state, strict=True)
        )
        return backbone.layer_norm(x), state


def _encoder_class():
    from keras_hub.src.models.qwen3_5.qwen3_5_vision_encoder import (
        Qwen3_5VisionEncoder,
    )

    return Qwen3_5VisionEncoder


def _attend(attention, x, rotary):
    """Attention of the vision encoder, which KerasHub has for single images only."""
    shape = (-1, x.shape[1], 3, attention.num_heads, attention.head_dim)
    query, key, value = ops.unstack(ops.reshape(attention.qkv(x), shape), axis=2)
    query, key = (attention._apply_rotary(part, *rotary) for part in (query, key))
    found = ops.dot_product_attention(query, key, value)
    return attention.proj(ops.reshape(found, (-1, *x.shape[1:])))


def _empty_caches(backbone, batch, room, dtype):
    """Caches of attention, convolution and recurrence; each layer uses its own."""
    keys = backbone.linear_num_key_heads * backbone.linear_key_head_dim
    heads, width = backbone.linear_num_value_heads, backbone.linear_value_head_dim
    shape = (batch, backbone.num_layers)
    attention = (2, room, backbone.num_key_value_heads, backbone.head_dim)
    convolution = (2 * keys + heads * width, backbone.linear_conv_kernel_dim - 1)
    recurrence = (heads, backbone.linear_key_head_dim, width)
    return (
        ops.zeros((*shape, *attention), dtype),
        ops.zeros((*shape, *convolution), dtype),
        ops.zeros((*shape, *recurrence), "float32"),
    )
