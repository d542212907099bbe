"""Captioners at inference: images in, prompts written word by word out."""

import numpy as np
import tensorflow as tf

from tf_prompt.data import images as image_codec
from tf_prompt.data.text import END_ID, PAD_ID, START_ID, UNK_ID
from tf_prompt.data.vocabulary import Vocabulary
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.decoding.rules import NEVER, Rules
from tf_prompt.decoding.sampling import Sampling
from tf_prompt.decoding.search import Search
from tf_prompt.inference.model import PromptModel, Steps
from tf_prompt.inference.prompt_tokens import PromptTokens, is_text
from tf_prompt.metrics.prompt_embedder import EMBEDDING_DIM, PromptEmbedder
from tf_prompt.models.captioner import Captioner

# Number of prompts in an export's signature `beam`.
NUM_BEAMS = 3


class CaptionerModel(PromptModel):
    """A captioner with its vocabulary.

    With `options.rerank` it decodes with minimum Bayes risk: it writes several
    candidates per image, the beams of a beam search or independent samples, and keeps
    the one with the highest expected MiniLM cosine with all of them. Beams are
    weighted by their probabilities, samples equally.

    Args:
        network: a `Captioner`.
        vocabulary: the vocabulary, of words or of subwords.
        options: how to decode.
        embedder: from `prompt_embedder.load_embedder`; None leaves embeddings out of
            `describe`.
        name: see `PromptModel`.
        num_beams: int > 0, number of prompts in an export's signature `beam`.

    Attributes:
        network, vocabulary: as given.

    Raises:
        ValueError: for `rerank` without an embedder.

    Reference: Kumar and Byrne, 2004, https://aclanthology.org/N04-1022; with
    samples, Eikema and Aziz, 2020, https://arxiv.org/abs/2005.10283.
    """

    score_name = "mean log-probability per word"
    attends = takes_pixels = True
    predicts_embeddings = False

    def __init__(
        self,
        network: Captioner,
        vocabulary: Vocabulary,
        options: DecodingConfig | None = None,
        embedder: PromptEmbedder | None = None,
        name: str = "captioner",
        num_beams: int = NUM_BEAMS,
    ):
        self.options = options = options or DecodingConfig()
        if options.rerank and embedder is None:
            raise ValueError(f"rerank needs an embedder. Received: {options}")
        self._banned_ids = (PAD_ID, UNK_ID, START_ID, *vocabulary.banned_ids)
        rules = Rules(
            self._banned_ids,
            options.min_words,
            options.repetition_penalty,
            options.no_repeat_ngram,
        )
        self._search = Search(network.step, END_ID, network.max_tokens, rules)
        self._sampling = Sampling(
            self.draw_uniform, options.temperature, options.top_k, options.top_p
        )
        self.network, self.vocabulary = network, vocabulary
        self._num_beams = num_beams
        self._tokens = PromptTokens(vocabulary, embedder)
        self.embeds_in_graph = not vocabulary.is_raw
        self.is_raw = vocabulary.is_raw
        if vocabulary.is_raw:
            self.score_name = "mean log-probability per subword"
        self._write = self._write_tokens
        if options.rerank:
            self._write = self._write_agreed
        elif options.xla:
            # Only the loop, because XLA makes ResNet50 slower.
            self._write = tf.function(
                self._write_tokens, jit_compile=True, autograph=False
            )
        self._beams_of: dict = {}
        super().__init__(name, [network.image_size])
        # A separate function, so that a SavedModel contains it only once.
        self._decode = self._compile(self._decode_tokens)

    def answer(self, images):
        """See `PromptModel`; without the embedding, which costs time."""
        token_ids, scores, _ = self._decode(images[self.image_size])
        return {"prompt": self._tokens.join(token_ids), "score": scores}

    def endpoints(self):
        """See `PromptModel`.

        `beam` returns `prompt` and `score`, `(batch, num_beams)`, best first.
        `attention`, of models that have it, returns `words`, string `(batch,
        max_tokens)`, where subwords keep the space before them, and `weights`, float32
        `(batch, max_tokens, regions)`.
        """
        found = {"beam": self._write_beams}
        if self.attends:
            found["attention"] = self._attend
        if self._tokens.embeds_in_graph:
            found |= super().endpoints()
        return found

    def require_exportable(self) -> None:
        """See `PromptModel`; TF Serving turns XLA off, and calls no Python."""
        if self.options.xla:
            raise ValueError(
                f"`xla` must be off in an export. Received: {self.options}"
            )
        if self.options.rerank and not self.embeds_in_graph:
            raise ValueError(
                "`rerank` must be 0 in an export that writes subwords. "
                f"Received: {self.options}"
            )

    def steps(self):
        """See `PromptModel`."""

        def write(images):
            return self.answer({self.image_size: images})["prompt"].numpy()

        return Steps(self.network, self.vocabulary, self._banned_ids, write)

    def write_best(self, image_bytes, count):
        """See `PromptModel`; the prompts come from a beam search."""
        if count not in self._beams_of:
            self._beams_of[count] = self._compile(
                lambda images: self.search_beams(images, count)
            )
        images = self.open(image_bytes)[self.image_size]
        found = (value.numpy() for value in self._beams_of[count](images))
        return [_first_of_each(*row) for row in zip(*found, strict=True)]

    def look(self, image, prompt):
        """See `PromptModel`."""
        ids, words, parts = self._tokens.split(prompt)
        if not words:
            return [], np.zeros((0, 1))
        # Inputs are the previous tokens: the last token is never an input.
        token_ids = tf.constant([[START_ID, *ids[:-1]]])
        weights = self.network.attend(image[None], token_ids)
        return words, parts @ weights[0].numpy()

    def reference(self, prompt, words):
        """See `PromptModel`."""
        return self.vocabulary.reference(prompt, words)

    def search_beams(self, images, num_beams: int):
        """Finds several prompts per image by beam search.

        Args:
            images: dict from size to uint8 `(batch, image_size, image_size, 3)`.
            num_beams: int > 0, number of beams.

        Returns:
            prompts: string `(batch, num_beams)`, best first; if a small vocabulary
                allows fewer prompts, the last ones are empty.
            scores: float32 `(batch, num_beams)`, as in `describe`; NaN for empty ones.
        """
        images = images[self.image_size]
        state, memory = self.network.encode(images)
        token_ids, scores, _ = self._search.beams(
            state, memory, _starts(images), num_beams
        )
        shape = (None, num_beams, self.network.max_tokens)
        token_ids = tf.ensure_shape(token_ids, shape)
        prompts = self._tokens.join(token_ids)
        return image_codec.blank(scores > NEVER / 2, prompts, scores)

    def attend(self, images, token_ids):
        """Computes the attention over image regions for each written word.

        Args:
            images: uint8 `(batch, image_size, image_size, 3)`.
            token_ids: int `(batch, max_tokens)`, the written prompts.

        Returns:
            float32 `(batch, max_tokens, regions)`: rows sum to 1, or are 0 if there is
            no word.
        """
        # The input at each step is the previous word.
        read = tf.concat([_starts(images)[:, None], token_ids[:, :-1]], axis=1)
        weights = tf.cast(self.network.attend(images, read), tf.float32)
        return tf.where(is_text(token_ids)[..., None], weights, 0.0)

    def _describe(self, images):
        token_ids, scores, ended = self._decode(images[self.image_size])
        prompts = self._tokens.join(token_ids)
        found = {"prompt": prompts, "score": scores, "ended": ended}
        if self._tokens.embeds:
            found["embedding"] = self._tokens.embed(token_ids)
        return found

    def _features(self, images):
        return self.network.extract_features(images[self.image_size], training=False)

    def _embed(self, images):
        token_ids, _, _ = self._decode(images[self.image_size])
        return {"embedding": self._tokens.embed(token_ids)}

    def _write_beams(self, images):
        prompts, scores = self.search_beams(images, self._num_beams)
        return {"prompt": prompts, "score": scores}

    def _attend(self, images):
        images = images[self.image_size]
        token_ids, _, _ = self._decode(images)
        weights = self.attend(images, token_ids)
        return {"words": self._tokens.each(token_ids), "weights": weights}

    def _decode_tokens(self, images):
        """Token ids of the prompts, `(batch, max_tokens)`, scores, whether ended."""
        images = images[self.image_size]
        state, memory = self.network.encode(images)
        return self._write(_starts(images), state, memory)

    def _write_tokens(self, start_ids, state, memory):
        """Token ids, scores and whether ended, one row per image."""
        options, begin = self.options, (state, memory, start_ids)
        if options.sample:
            return self._search.sample(*begin, self._sampling)
        if options.num_beams == 1:
            return self._search.greedy(*begin)
        beams = self._search.beams(*begin, options.num_beams, options.length_penalty)
        return tuple(found[:, 0] for found in beams)

    def _write_agreed(self, start_ids, state, memory):
        """As `_write_tokens`, for the candidate most similar to the others."""
        ids, scores, ended = self._write_candidates(start_ids, state, memory)
        count = self.options.rerank
        embeddings = self._tokens.embed(tf.reshape(ids, (-1, self.network.max_tokens)))
        embeddings = tf.reshape(embeddings, (-1, count, EMBEDDING_DIM))
        chosen = choose(embeddings, self._weigh(ids, scores))
        return tuple(
            tf.gather(found, chosen, batch_dims=1) for found in (ids, scores, ended)
        )

    def _write_candidates(self, start_ids, state, memory):
        """Token ids `(batch, candidates, tokens)`, scores and whether each ended."""
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
        # From the score per token back to the log-probability of the prompt.
        lengths = tf.reduce_sum(tf.cast(ids != END_ID, tf.float32), axis=-1) + 1
        totals = scores * lengths**self.options.length_penalty
        return tf.nn.softmax(tf.where(scores > NEVER / 2, totals, -np.inf), axis=1)

    def draw_uniform(self, position, shape):
        """Draws numbers that depend only on the seed and the position.

        Args:
            position: int scalar, the step of decoding.
            shape: shape of the result.

        Returns:
            float32 of that shape, in [0, 1).
        """
        return tf.random.stateless_uniform(shape, [self.options.seed, position])


def choose(embeddings, weights):
    """Chooses the candidate with the highest expected similarity.

    Args:
        embeddings: float32 `(batch, candidates, dim)`, of unit length.
        weights: float32 `(batch, candidates)`, probabilities of the candidates; those
            with probability 0 do not exist and are never chosen.

    Returns:
        int64 `(batch,)`, index of the candidate, the first of ties.
    """
    similarities = tf.einsum("bid,bjd->bij", embeddings, embeddings)
    expected = tf.einsum("bij,bj->bi", similarities, weights)
    return tf.argmax(tf.where(weights > 0, expected, -np.inf), axis=1)


def _starts(images):
    return tf.fill([tf.shape(images)[0]], START_ID)


def _first_of_each(prompts, scores) -> list[tuple[str, float]]:
    found: dict[str, float] = {}
    for prompt, score in zip(prompts, scores, strict=True):
        # NaN: fewer prompts than beams, because the vocabulary is small.
        if not np.isnan(score):
            found.setdefault(prompt.decode(), float(score))
    return list(found.items())
