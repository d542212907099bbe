"""Taggers at inference: images in, the modifiers of their prompts out."""

from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.inference.model import PromptModel
from tf_prompt.models.linear_tagger import LinearTagger
from tf_prompt.models.tagger import Tagger


class TaggerModel(PromptModel):
    """Writes the modifiers above a threshold, most probable first, without a subject.

    If none is above it, only the most probable is written.

    Args:
        network: a `Tagger` or `LinearTagger`.
        modifiers: the text of each output of the network.
        name: see `PromptModel`.
    """

    score_name = "mean probability of the modifiers"
    predicts_embeddings = False
    lists_modifiers = True
    embeds = False

    def __init__(
        self, network: Tagger | LinearTagger, modifiers: Sequence[str], name: str
    ):
        self._network = network
        self._modifiers = tf.constant(list(modifiers))
        super().__init__(name, [network.image_size])

    def endpoints(self):
        """See `PromptModel`.

        `modifiers` returns `modifiers`, string, and `probabilities`, float32, both
        `(batch, num_modifiers)`, the most probable first.
        """
        return {"modifiers": self._rank}

    def _rank(self, images):
        logits = self._network(images[self.image_size], training=False)
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
        prompts, listed = (
            tf.strings.reduce_join(texts, axis=1, separator=between)
            for between in (" ", ", ")
        )
        return {"prompt": prompts, "score": score, "modifiers": listed}

    def _features(self, images):
        return self._network.extract_features(images[self.image_size], training=False)
