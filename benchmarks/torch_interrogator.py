"""A CLIP of transformers that interrogates one image at a time, as is usual."""

import numpy as np
import torch
import transformers

from tf_prompt.interrogation.chains import Chain
from tf_prompt.models.pretrained import CLIP

MAX_TOKENS = 77
# Standard deviations of weights times the square root of their inputs, 1 for others.
# With these a text is about the mean of its words, so that chains grow.
_GAINS = {"v_proj": 3, "out_proj": 3}


def build_clip(vocab_size: int, end_id: int, is_large: bool) -> transformers.CLIPModel:
    """A CLIP of ViT-L/14's size, or a smaller one, with random weights."""
    text = _size(768, 12) if is_large else _size(256, 4)
    vision = _size(1024, 24) if is_large else _size(768, 12)
    config = transformers.CLIPConfig(
        text_config={
            **text,
            "vocab_size": vocab_size,
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": end_id - 1,
            "eos_token_id": end_id,
        },
        vision_config={
            **vision,
            "image_size": 224,
            "patch_size": 14 if is_large else 32,
        },
        projection_dim=text["hidden_size"],
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, 0, _deviation(name, weight.shape[1]))
    return model


def _size(width, num_layers):
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": num_layers,
        "num_attention_heads": width // 64,
    }


def _deviation(name, num_inputs):
    if "embedding" in name:
        return 0.1 if "position" in name else 1
    return _GAINS.get(name.split(".")[-2], 1) / num_inputs**0.5


class ImageByImage:
    """The search of the mode `best`, an image after another.

    The texts that are tried go through the tower together, each padded to 77 tokens.

    Args:
        model: of `build_clip`.
        tokens: `CLIPTokens`.
        tables: phrases and their vectors by table, embedded before.
        options: `InterrogationConfig`.

    Attributes:
        num_read: tokens that went through the text tower, padding included.
    """

    def __init__(self, model, tokens, tables, options):
        self._model, self._tokens, self._options = model, tokens, options
        self.num_read = 0
        self._tables = {
            name: (phrases, torch.from_numpy(np.array(vectors)))
            for name, (phrases, vectors) in tables.items()
        }
        self._mean, self._std = (torch.tensor(x)[:, None, None] for x in CLIP)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> list[tuple[str, dict]]:
        """Prompt and ranked phrases of each picture."""
        return [self._interrogate(picture) for picture in pictures]

    def _interrogate(self, picture):
        pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
        pixels = ((pixels - self._mean) / self._std)[None]
        pooled = self._model.vision_model(pixel_values=pixels).pooler_output
        image = torch.nn.functional.normalize(self._model.visual_projection(pooled))[0]
        ranked = {}
        for name, (phrases, vectors) in self._tables.items():
            best = (vectors @ image).topk(min(self._options.candidates, len(phrases)))
            ranked[name] = [phrases[i] for i in best.indices]
        chain, best = Chain(), -np.inf
        for _ in range(self._options.max_phrases):
            tries = [
                chain.add(name, phrase)
                for name, phrases in ranked.items()
                for phrase in phrases
                if chain.has_room(name, phrase)
            ]
            scores = self._encode([tried.text for tried in tries]) @ image
            index = int(scores.argmax())
            if scores[index] <= best + self._options.min_gain:
                break
            chain, best = tries[index], float(scores[index])
        return chain.text, ranked

    def _encode(self, texts):
        ids = np.zeros((len(texts), MAX_TOKENS), np.int64)
        self.num_read += ids.size
        for padded, row in zip(ids, self._tokens.rows(texts), strict=True):
            padded[: len(row)] = row
        pooled = self._model.text_model(input_ids=torch.from_numpy(ids)).pooler_output
        return torch.nn.functional.normalize(self._model.text_projection(pooled))
