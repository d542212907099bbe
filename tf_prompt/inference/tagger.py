"""Taggers at inference: images in, the modifiers of their prompts out."""

import re
from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.inference.model import PromptModel
from tf_prompt.models.linear_tagger import LinearTagger
from tf_prompt.models.tagger import Tagger

# Modifiers that are removed from a subject: a pattern of 1,000 exceeds RE2's memory.
_NUM_REMOVED = 500


class TaggerModel(PromptModel):
    """Writes the modifiers above a threshold, most probable first.

    If none is above it, only the most probable is written. Before them comes the
    subject, if another model writes one: its prompt without modifiers, that is up to
    the first comma, and without modifiers of the tagger, the 500 most frequent, at
    its end.

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
        # The longest first: "digital art" before "art".
        known = sorted(modifiers[:_NUM_REMOVED], key=len, reverse=True)
        known = "|".join(map(re.escape, known))
        self._ending = rf"\s*,.*|(?:\s+(?:{known}))+$"
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
            prompts = tf.strings.join([subjects, prompts], between)
        return {"prompt": prompts, "score": score, "modifiers": listed}

    def _features(self, images):
        size = self._network.image_size
        return self._network.extract_features(images[size], training=False)
