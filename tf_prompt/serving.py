"""Image bytes in, prompt out: one writer for evaluation, prediction and export."""

import tensorflow as tf

from tf_prompt import decoding, images
from tf_prompt.decoding_config import DecodingConfig
from tf_prompt.rules import NEVER, Rules
from tf_prompt.saved_model import SIGNATURE
from tf_prompt.text import END_ID, PAD_ID, SPECIAL_TOKENS, START_ID, UNK_ID


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
        self.rules = Rules(
            (PAD_ID, UNK_ID, START_ID),
            options.min_words,
            options.repetition_penalty,
            options.no_repeat_ngram,
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
        """What `exporting.export` exports of the writer alone."""
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
        begin = (self.model.step, state, memory, self._starts(pictures), END_ID)
        max_tokens = self.model.max_tokens
        token_ids, scores, _ = decoding.beam_search(
            *begin, max_tokens, num_beams, self.rules
        )
        token_ids = tf.ensure_shape(token_ids, (None, num_beams, max_tokens))
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
        begin = (self.model.step, state, memory, start_ids, END_ID)
        begin = (*begin, self.model.max_tokens)
        if options.sample:
            cuts = (options.temperature, options.top_k, options.top_p)
            return decoding.sample(*begin, self.draw_uniform, self.rules, *cuts)
        if options.num_beams == 1:
            return decoding.greedy(*begin, self.rules)
        beams = decoding.beam_search(
            *begin, options.num_beams, self.rules, options.length_penalty
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
