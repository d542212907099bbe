"""Captioners: pictures in, prompts written word by word out."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.data import images as image_codec
from tf_prompt.data.text import END_ID, PAD_ID, SPECIAL_TOKENS, START_ID, UNK_ID
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.decoding.rules import NEVER, Rules
from tf_prompt.decoding.sampling import Sampling
from tf_prompt.decoding.search import Search
from tf_prompt.inference.graph_embedder import PartEmbedder
from tf_prompt.inference.model import PromptModel
from tf_prompt.metrics.prompt_embedder import EMBEDDING_DIM, PromptEmbedder
from tf_prompt.models.captioner import Captioner

# Prompts of the signature `beam` of an export.
NUM_BEAMS = 3


class CaptionerModel(PromptModel):
    """A captioner with its vocabulary.

    With `options.rerank` it decodes for minimum Bayes risk: it writes several
    candidates for a picture, the beams of a beam search or independent samples, and
    keeps the one of highest expected MiniLM cosine with all of them. Candidates of a
    beam search count by their probabilities, samples alike: they are drawn by theirs.

    Args:
        network: a `Captioner`.
        vocabulary: token of each id.
        options: how to write.
        embedder: of `prompt_embedder.load_embedder`; None leaves embeddings out of
            `describe`.
        name: see `PromptModel`.
        num_beams: int > 0, prompts of the signature `beam` of an export.

    Attributes:
        network, vocabulary: as given.

    Raises:
        ValueError: if prompts are to be reranked without an embedder.

    Reference: Kumar and Byrne, 2004, https://aclanthology.org/N04-1022; with
    samples, Eikema and Aziz, 2020, https://arxiv.org/abs/2005.10283.
    """

    score_name = "mean log-probability a word"
    attends = takes_pixels = True
    predicts_embeddings = False

    def __init__(
        self,
        network: Captioner,
        vocabulary: Sequence[str],
        options: DecodingConfig | None = None,
        embedder: PromptEmbedder | None = None,
        name: str = "captioner",
        num_beams: int = NUM_BEAMS,
    ):
        self.options = options = options or DecodingConfig()
        if options.rerank and embedder is None:
            raise ValueError(f"rerank needs an embedder. Received: {options}")
        rules = Rules(
            (PAD_ID, UNK_ID, START_ID),
            options.min_words,
            options.repetition_penalty,
            options.no_repeat_ngram,
        )
        self._search = Search(network.step, END_ID, network.max_tokens, rules)
        self._sampling = Sampling(
            self.draw_uniform, options.temperature, options.top_k, options.top_p
        )
        self.network, self.vocabulary = network, list(vocabulary)
        self._num_beams = num_beams
        self._tokens = tf.constant(vocabulary)
        self._id_of = {token: index for index, token in enumerate(vocabulary)}
        self._parts = None if embedder is None else PartEmbedder(vocabulary, embedder)
        self._write = self._write_tokens
        if options.rerank:
            self._write = self._write_agreed
        elif options.xla:
            # The loop alone: XLA makes ResNet50 slower.
            self._write = tf.function(
                self._write_tokens, jit_compile=True, autograph=False
            )
        self._beams_of: dict = {}
        super().__init__(name, [network.image_size])
        # A function of its own, so that a SavedModel holds it once.
        self._decode = self._compile(self._decode_tokens)

    def answer(self, images):
        """See `PromptModel`; an embedding is computed where it is asked for."""
        token_ids, scores, _ = self._decode(images[self.image_size])
        return {"prompt": self.join_words(token_ids), "score": scores}

    def endpoints(self):
        """See `PromptModel`.

        `beam` gives `prompt` and `score` as `(batch, num_beams)`, best first;
        `attention` gives `words`, string `(batch, max_tokens)`, and `weights`,
        float32 `(batch, max_tokens, regions)`.
        """
        found = {"beam": self._write_beams, "attention": self._attend}
        return found if self._parts is None else {**found, **super().endpoints()}

    def require_exportable(self) -> None:
        """See `PromptModel`; TF Serving turns XLA off."""
        if self.options.xla:
            raise ValueError(
                f"`xla` must be off in an export. Received: {self.options}"
            )

    def write_best(self, image_bytes, count):
        """See `PromptModel`; the prompts are the beams of a beam search."""
        if count not in self._beams_of:
            self._beams_of[count] = self._compile(
                lambda images: self.search_beams(images, count)
            )
        images = self.open(image_bytes)[self.image_size]
        found = (value.numpy() for value in self._beams_of[count](images))
        return [_first_of_each(*row) for row in zip(*found, strict=True)]

    def look(self, image, prompt):
        """See `PromptModel`."""
        words = prompt.split()
        if not words:
            return [], np.zeros((0, 1))
        # Each word was written before it was read: the last is never read.
        token_ids = [START_ID, *(self._id_of[word] for word in words[:-1])]
        weights = self.network.attend(image[None], tf.constant([token_ids]))
        return words, weights[0].numpy()

    def join_words(self, token_ids):
        """Joins the words of prompts: ids `(…, tokens)` to string `(…)`."""
        flat = tf.reshape(token_ids, (-1, token_ids.shape[-1]))
        words = tf.ragged.boolean_mask(tf.gather(self._tokens, flat), is_word(flat))
        prompts = tf.strings.reduce_join(words, axis=-1, separator=" ")
        return tf.reshape(prompts, tf.shape(token_ids)[:-1])

    def list_words(self, token_ids):
        """Gives each id's word, empty for the special ones."""
        return tf.where(is_word(token_ids), tf.gather(self._tokens, token_ids), "")

    def search_beams(self, images, num_beams: int):
        """Finds several prompts of each picture.

        Args:
            images: by size, uint8 `(batch, image_size, image_size, 3)`.
            num_beams: int > 0.

        Returns:
            prompts: string `(batch, num_beams)`, best first; empty where the
            vocabulary has no such prompt.
            scores: float32 `(batch, num_beams)`, as in `describe`; NaN there.
        """
        images = images[self.image_size]
        state, memory = self.network.encode(images)
        token_ids, scores, _ = self._search.beams(
            state, memory, _starts(images), num_beams
        )
        shape = (None, num_beams, self.network.max_tokens)
        token_ids = tf.ensure_shape(token_ids, shape)
        prompts = self.join_words(token_ids)
        return image_codec.blank(scores > NEVER / 2, prompts, scores)

    def attend(self, images, token_ids):
        """Tells where the model looked for each word that it wrote.

        Args:
            images: uint8 `(batch, image_size, image_size, 3)`.
            token_ids: int `(batch, max_tokens)`.

        Returns:
            float32 `(batch, max_tokens, regions)`: each row sums to 1, or is zeros
            where there is no word.
        """
        # Each word was written before it was read.
        read = tf.concat([_starts(images)[:, None], token_ids[:, :-1]], axis=1)
        weights = tf.cast(self.network.attend(images, read), tf.float32)
        return tf.where(is_word(token_ids)[..., None], weights, 0.0)

    def _describe(self, images):
        token_ids, scores, ended = self._decode(images[self.image_size])
        found = {"prompt": self.join_words(token_ids), "score": scores, "ended": ended}
        if self._parts is not None:
            found["embedding"] = self._embed_words(token_ids)
        return found

    def _features(self, images):
        return self.network.extract_features(images[self.image_size], training=False)

    def _embed(self, images):
        token_ids, _, _ = self._decode(images[self.image_size])
        return {"embedding": self._embed_words(token_ids)}

    def _embed_words(self, token_ids):
        return self._parts(tf.ragged.boolean_mask(token_ids, is_word(token_ids)))

    def _write_beams(self, images):
        prompts, scores = self.search_beams(images, self._num_beams)
        return {"prompt": prompts, "score": scores}

    def _attend(self, images):
        images = images[self.image_size]
        token_ids, _, _ = self._decode(images)
        weights = self.attend(images, token_ids)
        return {"words": self.list_words(token_ids), "weights": weights}

    def _decode_tokens(self, images):
        """Token ids of the prompts, `(batch, max_tokens)`, scores and ends."""
        images = images[self.image_size]
        state, memory = self.network.encode(images)
        return self._write(_starts(images), state, memory)

    def _write_tokens(self, start_ids, state, memory):
        """Token ids, scores and ends, each with an image a row."""
        options, begin = self.options, (state, memory, start_ids)
        if options.sample:
            return self._search.sample(*begin, self._sampling)
        if options.num_beams == 1:
            return self._search.greedy(*begin)
        beams = self._search.beams(*begin, options.num_beams, options.length_penalty)
        return tuple(found[:, 0] for found in beams)

    def _write_agreed(self, start_ids, state, memory):
        """As `_write_tokens`, of the candidate that the others agree with most."""
        ids, scores, ended = self._write_candidates(start_ids, state, memory)
        count = self.options.rerank
        embeddings = self._embed_words(tf.reshape(ids, (-1, self.network.max_tokens)))
        embeddings = tf.reshape(embeddings, (-1, count, EMBEDDING_DIM))
        chosen = choose(embeddings, self._weigh(ids, scores))
        return tuple(
            tf.gather(found, chosen, batch_dims=1) for found in (ids, scores, ended)
        )

    def _write_candidates(self, start_ids, state, memory):
        """Token ids `(batch, candidates, tokens)`, scores and ends of each."""
        options, count = self.options, self.options.rerank
        if not options.sample:
            return self._search.beams(
                state, memory, start_ids, count, options.length_penalty
            )
        state = tf.nest.map_structure(lambda x: tf.repeat(x, count, axis=0), state)
        start_ids = tf.repeat(start_ids, count)
        found = self._search.sample(state, memory, start_ids, self._sampling)
        return tuple(tf.reshape(x, [-1, count, *x.shape[1:]]) for x in found)

    def _weigh(self, ids, scores):
        if self.options.sample:
            return tf.fill(tf.shape(scores), 1 / self.options.rerank)
        # Back from the score a token to the log-probability of the prompt.
        lengths = tf.reduce_sum(tf.cast(ids != END_ID, tf.float32), axis=-1) + 1
        totals = scores * lengths**self.options.length_penalty
        return tf.nn.softmax(tf.where(scores > NEVER / 2, totals, -np.inf), axis=1)

    def draw_uniform(self, position, shape):
        """Numbers in [0, 1) that depend on seed and position alone."""
        return tf.random.stateless_uniform(shape, [self.options.seed, position])


def is_word(token_ids):
    """Whether ids are those of words, not of special tokens."""
    return token_ids >= len(SPECIAL_TOKENS)


def choose(embeddings, weights):
    """Picks the candidate of highest expected similarity.

    Args:
        embeddings: float32 `(batch, candidates, dim)` of unit length.
        weights: float32 `(batch, candidates)`, probability of each candidate; one of
            weight 0 does not exist and is never picked.

    Returns:
        int64 `(batch,)`; of equals, the first.
    """
    similarities = tf.einsum("bid,bjd->bij", embeddings, embeddings)
    expected = tf.einsum("bij,bj->bi", similarities, weights)
    return tf.argmax(tf.where(weights > 0, expected, -np.inf), axis=1)


def _starts(images):
    return tf.fill([tf.shape(images)[0]], START_ID)


def _first_of_each(prompts, scores) -> list[tuple[str, float]]:
    found: dict[str, float] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        # Fewer prompts than beams: the vocabulary is small, or all has ended.
        if not np.isnan(score):
            found.setdefault(prompt.decode(), float(score))
    return list(found.items())
