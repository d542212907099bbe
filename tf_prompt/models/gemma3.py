"""Gemma 3: the tokens of an image are placed among those of the text."""

import keras
import keras_hub
import numpy as np
from keras import ops

from tf_prompt.models.language import LanguageCaptioner, encode_text
from tf_prompt.models.portable_caches import portable_updates


@keras.saving.register_keras_serializable(package="tf_prompt")
class Gemma3Captioner(LanguageCaptioner):
    """Writes prompts with Gemma 3, whose image tokens all attend to each other.

    Args:
        **kwargs: arguments of `LanguageCaptioner`, which also documents inputs and
            outputs. `base["arguments"]` holds those of `Gemma3VisionEncoder` as
            `vision`.

    Reference: Gemma Team, 2025, https://arxiv.org/abs/2503.19786, section 2.
    """

    backbone_class = "Gemma3Backbone"
    task_name, tokenizer_name = "Gemma3CausalLM", "Gemma3Tokenizer"
    request = "Write the prompt that this image was generated from."
    text_targets = ("query", "value")
    vision_targets = ("query_proj", "value_proj")

    def build_network(self):
        arguments = dict(self.base["arguments"])
        vision = keras_hub.models.Gemma3VisionEncoder(
            **arguments.pop("vision"),
            image_size=self.image_size,
            output_dim=arguments["hidden_dim"],
            dtype=self.dtype_policy.name,
        )
        backbone = keras_hub.models.Gemma3Backbone(
            **arguments,
            vocabulary_size=self.base_vocab_size,
            image_size=self.image_size,
            vision_encoder=vision,
            dtype=self.dtype_policy,
        )
        return keras_hub.models.Gemma3CausalLM(None, backbone)

    def own_prefix(self, base, start, image):
        vision = base["arguments"]["vision"]
        side = self.image_size // vision["patch_size"] // vision["pool_size"]
        return [start, *[image] * side**2, start]

    @classmethod
    def find_special(cls, tokenizer, backbone):
        image = int(tokenizer.token_to_id("<img>"))
        asked = [
            int(tokenizer.start_token_id),
            *encode_text(tokenizer, "<start_of_turn>user\n\n\n<start_of_image>"),
            *[image] * backbone.num_vision_tokens_per_image,
            *encode_text(tokenizer, f"<end_of_image>\n\n{cls.request}<end_of_turn>\n"),
            *encode_text(tokenizer, "<start_of_turn>model\n"),
        ]
        end = int(tokenizer.token_to_id("<end_of_turn>"))
        return {"prefix_ids": asked, "end_id": end, "image_id": image}

    def vision(self, backbone):
        return [backbone.vision_encoder]

    def see(self, pixels):
        return self.task().backbone.vision_encoder(pixels[:, None])

    def read(self, pixels, token_ids):
        batch, num_written = ops.shape(token_ids)[0], ops.shape(token_ids)[1] - 1
        places, is_image = self._image_places(batch)
        written = ops.zeros((batch, num_written), "int32")
        joined = self.join_prefix(token_ids)
        inputs = {
            "images": pixels[:, None],
            "token_ids": joined,
            # Padding comes last, so no token before it attends to it.
            "padding_mask": ops.ones_like(joined),
            "vision_indices": places,
            "vision_mask": ops.concatenate([is_image, written], axis=1),
        }
        return self.task().backbone(inputs)

    def encode(self, images):
        network, backbone = self.task(), self.task().backbone
        seen = self.see(self.scale(images))
        batch = ops.shape(images)[0]
        token_ids, mask = self.pad_prefix(batch)
        places, is_image = self._image_places(batch)
        room = (batch, token_ids.shape[1])
        shape = (*room, backbone.num_key_value_heads, backbone.head_dim)
        empty = ops.zeros(shape, self.compute_dtype)
        with portable_updates():
            _, _, cache = network.call_with_cache(
                token_ids,
                ((empty, empty),) * backbone.num_layers,
                0,
                img_embeddings=seen,
                vision_mask=ops.pad(is_image, ((0, 0), (0, self.max_tokens))),
                padding_mask=mask,
                vision_indices=places,
            )
        return cache, ()

    def step(self, token_ids, position, state, memory):
        before = len(self.base["prefix_ids"]) - 1
        with portable_updates():
            logits, _, cache = self.task().call_with_cache(
                self.to_base(token_ids)[:, None], state, before + position
            )
        return self.to_own_logits(logits[:, 0]), cache

    def write_transformers(self, folder):
        if self.is_whole:
            raise ValueError(
                "--to transformers needs a pretrained base, whose tokenizer "
                "transformers can read. Received: a base trained from scratch"
            )
        self.merge()
        self.task().export_to_transformers(str(folder))

    def _image_places(self, batch):
        """Positions of the image's tokens in the prefix, and their mask."""
        is_image = np.int32(self.base["prefix_ids"]) == self.base["image_id"]
        places = np.int32(np.flatnonzero(is_image))
        rows = (np.int32(x)[None] for x in (places, is_image))
        return tuple(ops.tile(row, (batch, 1)) for row in rows)
