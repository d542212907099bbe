"""Of several prompts for a picture, the one that all others agree with most."""

import numpy as np
import tensorflow as tf

from tf_prompt import decoding, images
from tf_prompt.metrics import cosine
from tf_prompt.rules import NEVER
from tf_prompt.serving import PromptWriter
from tf_prompt.text import END_ID, START_ID


class RerankingWriter:
    """Writes prompts by minimum-Bayes-risk decoding with the MiniLM cosine.

    A captioner writes several candidates for a picture: the beams of a beam search,
    or independent samples. The candidate of highest expected cosine with all of
    them is kept. Candidates of a beam search count by their probabilities, samples
    alike: they are drawn by theirs.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: how to write; `rerank` is the number of candidates.
        embedder: from `metrics.cosine.load_embedder`.

    Reference: Kumar and Byrne, 2004, https://aclanthology.org/N04-1022; with
    samples, Eikema and Aziz, 2020, https://arxiv.org/abs/2005.10283.
    """

    def __init__(self, model, vocabulary, options, embedder):
        self.model, self.image_size = model, model.image_size
        self._options, self._embedder = options, embedder
        self._writer = PromptWriter(model, vocabulary, options)
        size = model.image_size
        self._candidates = tf.function(
            self._write_candidates,
            input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)],
        )

    def write(self, pictures) -> dict:
        """Writes the prompts of decoded pictures, as `PromptWriter.write`."""
        ids, scores, ended = (x.numpy() for x in self._candidates(pictures))
        texts = self._writer.join_words(ids).numpy()
        flat = [text.decode() for text in texts.flat]
        vectors = cosine.embed(flat, self._embedder).reshape(*scores.shape, -1)
        weights = self._weigh(ids, scores)
        chosen = choose(vectors, weights)
        rows = np.arange(len(chosen))
        return {
            "prompt": tf.constant(texts[rows, chosen]),
            "score": tf.constant(scores[rows, chosen]),
            "ended": tf.constant(ended[rows, chosen]),
        }

    def serve(self, image_bytes) -> dict:
        """Writes the prompts of encoded images, as `PromptWriter.serve`."""
        size = self.image_size
        pictures = [images.decode_image(data, size) for data in image_bytes]
        written = self.write(tf.stack(pictures))
        return {"prompt": written["prompt"], "score": written["score"]}

    def _write_candidates(self, pictures):
        """Token ids `(batch, candidates, tokens)`, scores and ends of each."""
        options, count = self._options, self._options.rerank
        model = self.model
        state, memory = model.encode(pictures)
        rules = self._writer.rules
        if not options.sample:
            start_ids = tf.fill([tf.shape(pictures)[0]], START_ID)
            begin = (model.step, state, memory, start_ids, END_ID, model.max_tokens)
            return decoding.beam_search(*begin, count, rules, options.length_penalty)
        state = tf.nest.map_structure(lambda x: tf.repeat(x, count, axis=0), state)
        start_ids = tf.fill([tf.shape(pictures)[0] * count], START_ID)
        begin = (model.step, state, memory, start_ids, END_ID, model.max_tokens)
        cuts = (options.temperature, options.top_k, options.top_p)
        found = decoding.sample(*begin, self._writer.draw_uniform, rules, *cuts)
        return tuple(tf.reshape(x, [-1, count, *x.shape[1:]]) for x in found)

    def _weigh(self, ids, scores):
        if self._options.sample:
            return np.full(scores.shape, 1 / scores.shape[1])
        # Back from the score a token to the log-probability of the prompt.
        lengths = (ids != END_ID).sum(axis=-1) + 1
        totals = scores * lengths**self._options.length_penalty
        totals = np.where(scores > NEVER / 2, totals, -np.inf)
        weights = np.exp(totals - totals.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


def build_writer(model, vocabulary, options) -> PromptWriter | RerankingWriter:
    """Makes what writes prompts as options say; loads MiniLM if they are reranked.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: `DecodingConfig`.
    """
    if options.rerank:
        embedder = cosine.load_embedder()
        return RerankingWriter(model, vocabulary, options, embedder)
    return PromptWriter(model, vocabulary, options)


def choose(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Picks the candidate of highest expected similarity.

    Args:
        vectors: float `(batch, candidates, dim)` of unit length.
        weights: float `(batch, candidates)`, probability of each candidate; one of
            weight 0 does not exist and is never picked.

    Returns:
        int `(batch,)`; of equals, the first.
    """
    similarities = np.einsum("bid,bjd->bij", vectors, vectors)
    expected = np.einsum("bij,bj->bi", similarities, weights)
    return np.where(weights > 0, expected, -np.inf).argmax(axis=1)
