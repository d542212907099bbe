"""BLIP-2: a few learned queries read the image, and OPT reads them before the text."""

import keras
import keras_hub
from keras import ops

from tf_prompt.models.one_cache import OneCacheCaptioner
from tf_prompt.models.portable_caches import portable_updates


@keras.saving.register_keras_serializable(package="tf_prompt")
class BLIP2Captioner(OneCacheCaptioner):
    """Writes prompts with BLIP-2 and OPT, which ends a text with a line break.

    Args:
        **kwargs: arguments of `LanguageCaptioner`, which also documents inputs and
            outputs. `base["arguments"]` holds the arguments of `BLIP2VisionEncoder`,
            `BLIP2QFormer` and `BLIP2CustomOPT` as `vision`, `queries` and `text`.

    Reference: Li et al., 2023, https://arxiv.org/abs/2301.12597, section 3.
    """

    backbone_class = "BLIP2Backbone"
    task_name, tokenizer_name = "BLIP2CausalLM", "BLIP2OPTTokenizer"
    text_targets = vision_targets = ("query", "value")

    def build_network(self):
        models, arguments = keras_hub.models, self.base["arguments"]
        vision, queries, text = (arguments[n] for n in ("vision", "queries", "text"))
        shared = {"dtype": self.dtype_policy}
        backbone = models.BLIP2Backbone(
            models.BLIP2VisionEncoder(**vision, image_size=self.image_size, **shared),
            models.BLIP2QFormer(**queries, vision_dim=vision["hidden_dim"], **shared),
            models.BLIP2CustomOPT(
                **text,
                vocabulary_size=self.base_vocab_size,
                num_query_tokens=queries["num_query_tokens"],
                qformer_hidden_dim=queries["hidden_dim"],
                **shared,
            ),
            **shared,
        )
        return models.BLIP2CausalLM(None, backbone)

    def vision(self, backbone):
        return [backbone.vision_encoder, backbone.qformer]

    @classmethod
    def image_side(cls, backbone):
        side = backbone.vision_encoder.image_size
        return int(side if isinstance(side, int) else side[0])

    def num_seen(self, backbone):
        return backbone.num_query_tokens

    def see(self, pixels):
        backbone = self.task().backbone
        seen = backbone.qformer(backbone.vision_encoder(pixels))
        return backbone.language_model.language_projection(seen)

    def read(self, pixels, token_ids):
        joined = self.join_prefix(token_ids)
        inputs = {
            "images": pixels,
            "token_ids": joined,
            # Padding comes last, so no token before it attends to it.
            "padding_mask": ops.ones_like(joined),
        }
        return self.task().backbone(inputs)

    def encode(self, images):
        text = self.task().backbone.language_model
        seen = self.see(self.scale(images))
        batch = ops.shape(seen)[0]
        token_ids, mask = self.pad_prefix(batch)
        room = seen.shape[1] + token_ids.shape[1]
        heads = text.num_heads, text.hidden_dim // text.num_heads
        shape = (batch, text.num_layers, 2, room, *heads)
        with portable_updates():
            _, _, cache = self.task().call_with_cache(
                token_ids,
                ops.zeros(shape, seen.dtype),
                0,
                projected_features=seen,
                padding_mask=mask,
            )
        return (cache,), ()
