"""Vision-language models at inference."""

import pathlib
import sys
import tempfile
import warnings

import numpy as np

from tf_prompt.data import pretrained_vocabulary
from tf_prompt.data.text import END_ID, START_ID
from tf_prompt.inference.captioner import CaptionerModel
from tf_prompt.inference.model import PromptModel
from tf_prompt.models import language_bases, presets
from tf_prompt.models.language import NUM_SPECIAL


class LanguageModel(CaptionerModel):
    """A `LanguageCaptioner` with its vocabulary; it shows no attention.

    Args:
        network: a `LanguageCaptioner` with its base attached.
        **kwargs: arguments of `CaptionerModel`.
    """

    attends = False
    look = PromptModel.look

    def steps(self):
        """See `PromptModel`."""
        raise ValueError(f"LiteRT cannot run language models. Received: {self.name}")

    def quantize(self) -> None:
        """See `PromptModel`; reports on stderr how much the logits for noise change."""
        inputs = self._noise()
        before = self.network(inputs)[..., END_ID:].numpy()
        with warnings.catch_warnings():
            # Keras names each kind of layer that stays as it is.
            warnings.filterwarnings("ignore", ".*`quantize` method", UserWarning)
            self.network.task().backbone.quantize("int8")
        after = self.network(inputs)[..., END_ID:].numpy()
        moved = np.abs(after - before).mean() / before.std()
        same = np.mean(after.argmax(-1) == before.argmax(-1))
        print(
            f"int8: on images of noise, logits change by {moved:.1%} of their "
            f"standard deviation; {same:.0%} of the next tokens stay the same",
            file=sys.stderr,
        )

    def _noise(self) -> dict:
        """Two images of noise and random prompts, always the same."""
        rng, network = np.random.default_rng(0), self.network
        side, length = network.image_size, min(network.max_tokens, 16)
        token_ids = rng.integers(NUM_SPECIAL, network.vocab_size, (2, length))
        token_ids[:, 0] = START_ID
        images = rng.integers(0, 256, (2, side, side, 3), np.uint8)
        return {"images": images, "token_ids": np.int32(token_ids)}

    def write_transformers(self, folder) -> None:
        """See `PromptModel`; the trained weights are merged into the base's."""
        self.network.write_transformers(folder)


def load_pretrained(preset: str, source: str | None = None) -> LanguageModel:
    """Loads a pretrained base as it is, without a run.

    Args:
        preset: name of the preset.
        source: see `language_bases.open_base`; None takes the preset's own.

    Raises:
        ValueError: if the base is neither on this machine nor reachable.
    """
    source = language_bases.find_source(preset, source)
    family = presets.PRESETS[preset][0]
    with tempfile.TemporaryDirectory() as folder:
        files = pathlib.Path(folder) / pretrained_vocabulary.FOLDER
        language_bases.save_tokenizer(source, family, files)
        vocabulary = pretrained_vocabulary.read(folder)
    network = language_bases.build(
        preset, source, vocab_size=len(vocabulary), lora_rank=None
    )
    return LanguageModel(network, vocabulary, name=preset)
