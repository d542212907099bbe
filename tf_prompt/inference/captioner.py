"""Image bytes in, prompt out: one writer for evaluation, prediction and export."""

import numpy as np
import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.data.text import END_ID, PAD_ID, SPECIAL_TOKENS, START_ID, UNK_ID
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.decoding.rules import NEVER, Rules
from tf_prompt.decoding.sampling import Sampling
from tf_prompt.decoding.search import Search
from tf_prompt.inference.graph_embedder import PartEmbedder
from tf_prompt.inference.model import Prediction, _compile, _feature_function
from tf_prompt.metrics import prompt_embedder
from tf_prompt.serving.saved_model import SIGNATURE


class PromptWriter(tf.Module):
    """A captioner with its vocabulary: writes the prompts of pictures.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: how to write.
    """

    def __init__(self, model, vocabulary, options=None):
        super().__init__()
        self.options = options = options or DecodingConfig()
        rules = Rules(
            (PAD_ID, UNK_ID, START_ID),
            options.min_words,
            options.repetition_penalty,
            options.no_repeat_ngram,
        )
        self.search = Search(model.step, END_ID, model.max_tokens, rules)
        self.sampling = Sampling(
            self.draw_uniform, options.temperature, options.top_k, options.top_p
        )
        self.model = model
        self.image_size = model.image_size
        self._tokens = tf.constant(vocabulary)
        self._search = self._search_tokens
        if options.xla:
            # The loop alone: XLA makes ResNet50 slower.
            self._search = tf.function(self._search_tokens, jit_compile=True)
        size = model.image_size
        self.write = tf.function(
            self._write,
            input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)],
        )
        self.serve = tf.function(
            self._serve,
            input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")],
        )

    @property
    def signatures(self) -> dict:
        """What `versions.export` exports of the writer alone."""
        return {SIGNATURE: self.serve}

    def _write(self, pictures):
        """Writes the prompts of decoded pictures.

        Args:
            pictures: uint8 `(batch, image_size, image_size, 3)`.

        Returns:
            dict of `prompt`, string `(batch,)`; `score`, float32 `(batch,)`, mean
            log-probability of the words, 0 at best; `ended`, bool `(batch,)`,
            whether the model ended the prompt by itself.
        """
        token_ids, scores, ended = self.decode(pictures)
        prompts = self.join_words(token_ids)
        return {"prompt": prompts, "score": scores, "ended": ended}

    def join_words(self, token_ids):
        """Joins the words of prompts: ids `(…, tokens)` to string `(…)`."""
        flat = tf.reshape(token_ids, (-1, token_ids.shape[-1]))
        words = tf.ragged.boolean_mask(tf.gather(self._tokens, flat), is_word(flat))
        prompts = tf.strings.reduce_join(words, axis=-1, separator=" ")
        return tf.reshape(prompts, tf.shape(token_ids)[:-1])

    def list_words(self, token_ids):
        """Gives each id's word, empty for the special ones."""
        return tf.where(is_word(token_ids), tf.gather(self._tokens, token_ids), "")

    def decode(self, pictures):
        """Token ids of the prompts, `(batch, max_tokens)`, scores and ends."""
        state, memory = self.model.encode(pictures)
        return self._search(self._starts(pictures), state, memory)

    def search_beams(self, pictures, num_beams: int):
        """Finds several prompts of each picture.

        Args:
            pictures: uint8 `(batch, image_size, image_size, 3)`.
            num_beams: int > 0.

        Returns:
            prompts: string `(batch, num_beams)`, best first; empty where the
            vocabulary has no such prompt.
            scores: float32 `(batch, num_beams)`, as in `write`; NaN there.
        """
        state, memory = self.model.encode(pictures)
        token_ids, scores, _ = self.search.beams(
            state, memory, self._starts(pictures), num_beams
        )
        token_ids = tf.ensure_shape(
            token_ids, (None, num_beams, self.search.max_tokens)
        )
        prompts = self.join_words(token_ids)
        return images.blank(scores > NEVER / 2, prompts, scores)

    def attend(self, pictures, token_ids):
        """Tells where the model looked for each word that `decode` gave.

        Args:
            pictures: uint8 `(batch, image_size, image_size, 3)`.
            token_ids: int `(batch, max_tokens)`.

        Returns:
            float32 `(batch, max_tokens, regions)`: each row sums to 1, or is zeros
            where there is no word.
        """
        start_ids = self._starts(pictures)
        # Each word was written before it was read.
        read = tf.concat([start_ids[:, None], token_ids[:, :-1]], axis=1)
        weights = tf.cast(self.model.attend(pictures, read), tf.float32)
        return tf.where(is_word(token_ids)[..., None], weights, 0.0)

    def _starts(self, pictures):
        return tf.fill([tf.shape(pictures)[0]], START_ID)

    def _search_tokens(self, start_ids, state, memory):
        """Token ids, scores and ends, each with an image a row."""
        options = self.options
        if options.sample:
            return self.search.sample(state, memory, start_ids, self.sampling)
        if options.num_beams == 1:
            return self.search.greedy(state, memory, start_ids)
        beams = self.search.beams(
            state, memory, start_ids, options.num_beams, options.length_penalty
        )
        return tuple(found[:, 0] for found in beams)

    def draw_uniform(self, position, shape):
        """Numbers in [0, 1) that depend on seed and position alone."""
        return tf.random.stateless_uniform(shape, [self.options.seed, position])

    def _serve(self, image_bytes):
        """Writes the prompts of encoded images, string `(batch,)`.

        Returns:
            dict of `prompt` and `score` as `write` gives them; an image that is
            broken has the empty prompt, and NaN for its score.
        """
        (pictures,), sound = images.decode_batch(image_bytes, [self.image_size])
        written = self._write(pictures)
        prompts, scores = images.blank(sound, written["prompt"], written["score"])
        return {"prompt": prompts, "score": scores}


def is_word(token_ids):
    """Whether ids are those of words, not of special tokens."""
    return token_ids >= len(SPECIAL_TOKENS)


class GraphCaptioner:
    """See `captioner.CaptionerMember`.

    Args:
        writer: of prompts.
        parts: embeds prompts of the vocabulary's words.
    """

    def __init__(self, writer: PromptWriter, parts: PartEmbedder):
        self.sizes = (writer.image_size,)
        self._writer, self._parts = writer, parts

    def describe(self, pictures) -> dict:
        """See `GraphMember`."""
        token_ids, scores, _ = self._writer.decode(pictures[self.sizes[0]])
        words = tf.ragged.boolean_mask(token_ids, is_word(token_ids))
        prompts = self._writer.join_words(token_ids)
        return {"embedding": self._parts(words), "prompt": prompts, "score": scores}


class CaptionerMember:
    """A captioner; its prompts are embedded by MiniLM.

    Args:
        writer: of prompts.
        embedder: from `metrics.cosine.load_embedder`.
        name: see `Member`.
    """

    def __init__(self, writer: PromptWriter, embedder, name: str):
        self.name, self.image_size = name, writer.image_size
        self._writer, self._embedder = writer, embedder
        model = writer.model
        self._features = _compile(_feature_function(model), model.image_size)

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return self.write(images).embeddings

    def write(self, images) -> Prediction:
        """Writes prompts, and embeds them; scores are mean log-probabilities."""
        written = self._writer.write(images)
        prompts = [prompt.decode() for prompt in written["prompt"].numpy()]
        embeddings = prompt_embedder.embed(prompts, self._embedder)
        return Prediction(embeddings, prompts, written["score"].numpy())

    def features(self, images) -> np.ndarray:
        """See `features_of`."""
        return self._features(images).numpy()


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
        vectors = prompt_embedder.embed(flat, self._embedder).reshape(*scores.shape, -1)
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
        search, sampling = self._writer.search, self._writer.sampling
        state, memory = self.model.encode(pictures)
        if not options.sample:
            start_ids = tf.fill([tf.shape(pictures)[0]], START_ID)
            return search.beams(state, memory, start_ids, count, options.length_penalty)
        state = tf.nest.map_structure(lambda x: tf.repeat(x, count, axis=0), state)
        start_ids = tf.fill([tf.shape(pictures)[0] * count], START_ID)
        found = search.sample(state, memory, start_ids, sampling)
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
        embedder = prompt_embedder.load_embedder()
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
