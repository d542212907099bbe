"""Our Transformer decoder as a Hugging Face model that `generate` runs."""

import numpy as np
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput

from tf_prompt.data.text import END_ID, PAD_ID, START_ID


class HuggingFaceDecoder:
    """A BART decoder with the weights of a `TransformerCaptioner`.

    MBart is BART with normalisation before each part, as ours has it. Its
    encoder is left out: both sides begin from the same regions of an image.

    Args:
        captioner: `num_heads * head_dim` must be `embedding_dim`, as in BART.
    """

    def __init__(self, captioner):
        width, depth = captioner.embedding_dim, captioner.image_encoder.output_shape[-1]
        config = transformers.MBartConfig(
            vocab_size=captioner.vocab_size,
            d_model=width,
            encoder_layers=0,
            decoder_layers=captioner.num_decoder_layers,
            decoder_attention_heads=captioner.num_heads,
            decoder_ffn_dim=captioner.decoder_hidden_dim,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=captioner.max_tokens,
            tie_word_embeddings=False,
            pad_token_id=PAD_ID,
            bos_token_id=START_ID,
            eos_token_id=END_ID,
            decoder_start_token_id=START_ID,
            forced_eos_token_id=None,
        )
        self.network = transformers.MBartForConditionalGeneration(config).eval()
        decoder = self.network.model.decoder
        decoder.layernorm_embedding = torch.nn.Identity()
        for layer in decoder.layers:
            # Regions are wider than tokens.
            layer.encoder_attn.k_proj = torch.nn.Linear(depth, width)
            layer.encoder_attn.v_proj = torch.nn.Linear(depth, width)
        with torch.no_grad():
            self._copy_weights(captioner)

    def generate(self, regions: np.ndarray, num_tokens: int, num_beams: int = 1):
        """Writes so many tokens of each image: int array `(batch, num_tokens)`."""
        regions = torch.from_numpy(regions)
        with torch.inference_mode():
            written = self.network.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=regions),
                attention_mask=torch.ones(regions.shape[:2], dtype=torch.long),
                max_new_tokens=num_tokens,
                num_beams=num_beams,
                do_sample=False,
                length_penalty=1.0,
            )
        return written[:, 1:].numpy()

    def _copy_weights(self, captioner) -> None:
        decoder, width = self.network.model.decoder, captioner.embedding_dim
        _set(decoder.embed_tokens.weight, captioner.embedding.embeddings)
        positions = captioner.positions(np.zeros((1, captioner.max_tokens, width)))
        # MBart's table has two rows more before the first position.
        decoder.embed_positions.weight[2:] = _to_torch(positions)[0]
        for theirs, ours in zip(decoder.layers, captioner.decoder_blocks, strict=True):
            _copy_attention(theirs.self_attn, ours.attention)
            _copy_attention(theirs.encoder_attn, ours.cross_attention)
            _copy_norm(theirs.self_attn_layer_norm, ours.attention_norm)
            _copy_norm(theirs.encoder_attn_layer_norm, ours.cross_attention_norm)
            _copy_norm(theirs.final_layer_norm, ours.feed_forward_norm)
            _copy_dense(theirs.fc1, ours.expand)
            _copy_dense(theirs.fc2, ours.contract)
        _copy_norm(decoder.layer_norm, captioner.decoder_norm)
        _set(self.network.lm_head.weight, _to_torch(captioner.output_proj.kernel).T)
        self.network.final_logits_bias[0] = _to_torch(captioner.output_proj.bias)


def _to_torch(weight):
    return torch.from_numpy(np.array(weight, "float32"))


def _set(theirs, ours) -> None:
    theirs.copy_(ours if torch.is_tensor(ours) else _to_torch(ours))


def _copy_dense(theirs, ours) -> None:
    _set(theirs.weight, _to_torch(ours.kernel).T)
    _set(theirs.bias, ours.bias)


def _copy_norm(theirs, ours) -> None:
    _set(theirs.weight, ours.gamma)
    _set(theirs.bias, ours.beta)


def _copy_attention(theirs, ours) -> None:
    """Ours keeps heads apart: `(width, heads, head_dim)` and back."""
    for projection, part in (
        (theirs.q_proj, ours._query_dense),
        (theirs.k_proj, ours._key_dense),
        (theirs.v_proj, ours._value_dense),
    ):
        kernel = _to_torch(part.kernel)
        _set(projection.weight, kernel.reshape(len(kernel), -1).T)
        _set(projection.bias, _to_torch(part.bias).reshape(-1))
    kernel = _to_torch(ours._output_dense.kernel)
    _set(theirs.out_proj.weight, kernel.reshape(-1, kernel.shape[-1]).T)
    _set(theirs.out_proj.bias, ours._output_dense.bias)
