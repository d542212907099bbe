"""Taggers at inference: images in, the modifiers of their prompts out."""

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.inference.model import PromptModel
from tf_prompt.models.linear_tagger import LinearTagger
from tf_prompt.models.tagger import Tagger

# Characters of the modifiers that are removed from a subject: RE2 has little memory.
_REMOVED_CHARACTERS = 10_000


class TaggerModel(PromptModel):
    """Writes the modifiers above a threshold, most probable first.

    If none is above it, only the most probable is written. Before them comes the
    subject, if another model writes one: the part of its prompt before the first comma,
    less the tagger's modifiers at its end, of which the most frequent, 10,000
    characters in all, are known.

    Args:
        network: a `Tagger` or `LinearTagger`.
        modifiers: the text of each output of the network.
        name: see `PromptModel`.
        subject: a model that writes prompts; None writes no subject.
    """

    score_name = "mean probability of the modifiers"
    predicts_embeddings = False
    lists_modifiers = True
    embeds = False

    def __init__(
        self,
        network: Tagger | LinearTagger,
        modifiers: Sequence[str],
        name: str,
        subject: PromptModel | None = None,
    ):
        self._network, self._subject = network, subject
        self._modifiers = tf.constant(list(modifiers))
        self._ending = _match_ending(modifiers)
        sizes = [network.image_size]
        if subject is not None:
            self.is_raw = subject.is_raw
            sizes += subject.sizes
        super().__init__(name, sizes)

    def require_exportable(self) -> None:
        """See `PromptModel`."""
        if self._subject is not None:
            self._subject.require_exportable()

    def endpoints(self):
        """See `PromptModel`.

        `modifiers` returns `modifiers`, string, and `probabilities`, float32, both
        `(batch, num_modifiers)`, the most probable first.
        """
        return {"modifiers": self._rank}

    def reference(self, prompt, words):
        """See `PromptModel`."""
        return (
            words if self._subject is None else self._subject.reference(prompt, words)
        )

    def _rank(self, images):
        logits = self._network(images[self._network.image_size], training=False)
        count = self._network.num_modifiers
        probabilities, order = tf.math.top_k(tf.sigmoid(logits), count)
        texts = tf.gather(self._modifiers, order)
        return {"modifiers": texts, "probabilities": probabilities}

    def _describe(self, images):
        found = self._rank(images)
        probabilities = found["probabilities"]
        is_first = tf.range(self._network.num_modifiers) == 0
        is_written = (probabilities >= self._network.threshold) | is_first[None]
        texts = tf.ragged.boolean_mask(found["modifiers"], is_written)
        weights = tf.cast(is_written, tf.float32)
        score = tf.reduce_sum(weights * probabilities, 1) / tf.reduce_sum(weights, 1)
        between = ", " if self.is_raw else " "
        prompts, listed = (
            tf.strings.reduce_join(texts, axis=1, separator=separator)
            for separator in (between, ", ")
        )
        if self._subject is not None:
            subjects = self._subject.describe(images)["prompt"]
            subjects = tf.strings.regex_replace(subjects, self._ending, "")
            subjects = tf.strings.strip(subjects)
            joined = tf.strings.join([subjects, prompts], between)
            prompts = tf.where(subjects == "", prompts, joined)
        return {"prompt": prompts, "score": score, "modifiers": listed}

    def _features(self, images):
        size = self._network.image_size
        return self._network.extract_features(images[size], training=False)


def _match_ending(modifiers: Sequence[str]) -> str:
    """A pattern of what is removed from a subject."""
    lengths = np.cumsum([len(modifier) + 1 for modifier in modifiers])
    known = modifiers[: np.searchsorted(lengths, _REMOVED_CHARACTERS, "right")]
    # The longest first: "digital art" before "art".
    known = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    return rf"(?is)\s*,.*|(?:\s+(?:{known}))+\s*$"
