"""PaliGemma 1 and 2: Gemma reads the image tokens of a SigLIP before the text."""

import keras
import keras_hub
from keras import ops

from tf_prompt.models.one_cache import OneCacheCaptioner
from tf_prompt.models.portable_caches import portable_updates


@keras.saving.register_keras_serializable(package="tf_prompt")
class PaliGemmaCaptioner(OneCacheCaptioner):
    """Writes prompts with PaliGemma, which reads image and prefix in both directions.

    Args:
        **kwargs: arguments of `LanguageCaptioner`, which also documents inputs and
            outputs.

    Reference: Beyer et al., 2024, https://arxiv.org/abs/2407.07726, section 3; Steiner
    et al., 2024, https://arxiv.org/abs/2412.03555.
    """

    backbone_class = "PaliGemmaBackbone"
    task_name, tokenizer_name = "PaliGemmaCausalLM", "PaliGemmaTokenizer"
    request = "caption en\n"
    text_targets = ("query", "value")
    vision_targets = ("query_proj", "value_proj")

    def build_network(self):
        backbone = keras_hub.models.PaliGemmaBackbone(
            **self.base["arguments"],
            vocabulary_size=self.base_vocab_size,
            image_size=self.image_size,
            dtype=self.dtype_policy,
        )
        return keras_hub.models.PaliGemmaCausalLM(None, backbone)

    def vision(self, backbone):
        return [backbone.vit_encoder]

    def num_seen(self, backbone):
        return backbone.image_sequence_length

    def see(self, pixels):
        return self.task().backbone.vit_encoder(pixels)

    def read(self, pixels, token_ids):
        batch, num_written = ops.shape(token_ids)[0], ops.shape(token_ids)[1] - 1
        prefix = ops.ones_like(self.prefix(batch))
        written = ops.ones((batch, num_written), "int32")
        inputs = {
            "images": pixels,
            "token_ids": self.join_prefix(token_ids),
            # Padding comes last, so no token before it attends to it.
            "padding_mask": ops.concatenate([prefix, written], axis=1),
            "response_mask": ops.concatenate([0 * prefix, written], axis=1),
        }
        return self.task().backbone(inputs)

    def encode(self, images):
        network, backbone = self.task(), self.task().backbone
        seen = self.see(self.scale(images))
        batch, num_seen = ops.shape(seen)[0], seen.shape[1]
        prefix = self.prefix(batch)
        room = len(self.base["prefix_ids"]) + self.max_tokens
        heads = backbone.num_key_value_heads, backbone.head_dim
        shape = (batch, backbone.num_layers, 2, num_seen + room, *heads)
        is_prefix = ops.arange(room) < len(self.base["prefix_ids"])
        with portable_updates():
            _, _, cache = network.call_with_cache(
                prefix,
                ops.zeros(shape, seen.dtype),
                0,
                img_embeddings=seen,
                padding_mask=ops.tile(is_prefix[None], (batch, 1)),
            )
        return (cache,), ()
