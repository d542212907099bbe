"""Greedy decoding, sampling and beam search with any captioner's step function.

Every loop is a `keras.ops.while_loop`: it runs eagerly, inside `tf.function`, under
XLA, and in a SavedModel without XLA. It ends when every row of the batch has ended.
"""

import dataclasses
from collections.abc import Callable

from keras import ops, tree

from tf_prompt.decoding import beams
from tf_prompt.decoding.largest import largest, log_probs_of_largest
from tf_prompt.decoding.rules import NEVER, Rules
from tf_prompt.decoding.sampling import Sampling
from tf_prompt.layers.picking import pick


@dataclasses.dataclass(frozen=True)
class Search:
    """Decoding algorithms over a captioner's step function.

    The methods differ in the algorithm and share their first three arguments.

    Args:
        step: function of `token_ids`, `position`, `state` and `memory`, see
            `Captioner.step`.
        end_id: int, the token that ends a prompt.
        max_tokens: int > 0, largest number of tokens, the end token included.
        rules: constraints on what may be written.

    Method arguments:
        state: the part of `Captioner.encode`'s result that changes in each step.
        memory: the part of `Captioner.encode`'s result that does not.
        start_ids: int tensor `(batch,)`, the start tokens.
    """

    step: Callable
    end_id: int
    max_tokens: int
    rules: Rules = Rules()

    def greedy(self, state, memory, start_ids):
        """Takes the most likely token at each step, until every prompt has ended.

        Returns:
            token_ids: int32 `(batch, max_tokens)`, padded with `end_id`.
            scores: float32 `(batch,)`, mean log-probability of the tokens, the end
                token included; at most 0.
            ended: bool `(batch,)`, whether the end token was written.
        """
        return self._write(state, memory, start_ids, _take_most_likely)

    def sample(self, state, memory, start_ids, sampling: Sampling):
        """Samples each token.

        Returns:
            As `greedy`; scores are the model's, before temperature and cuts.
        """
        return self._write(state, memory, start_ids, sampling.draw)

    def beams(self, state, memory, start_ids, num_beams, length_penalty=1.0):
        """Beam search: keeps the best `num_beams` prompts of each image at each step.

        A prompt ends if the end token is among the best `num_beams` continuations.
        An image is done when `num_beams` prompts have ended; one beam is therefore
        `greedy`. At the last step unfinished prompts compete as they are.

        Args:
            state, memory, start_ids: see the class; `step` gets one row per beam, but
                `memory` with one row per image.
            num_beams: int > 0, number of beams.
            length_penalty: float. The score of a prompt is the sum of its
                log-probabilities divided by its length to this power: 1 is the mean,
                0 the sum.

        Returns:
            token_ids: int32 `(batch, num_beams, max_tokens)`, best first.
            scores: float32 `(batch, num_beams)`; -1e9 if there is no such prompt.
            ended: bool `(batch, num_beams)`.

        Raises:
            ValueError: if `num_beams` is not positive.

        Reference: Sutskever et al., 2014, https://arxiv.org/abs/1409.3215, section
        3.2; length as in Wu et al., 2016, https://arxiv.org/abs/1609.08144, section
        7, without its constant 5.
        """
        if num_beams < 1:
            raise ValueError(f"`num_beams` must be positive. Received: {num_beams}")

        def repeat(x):
            return ops.repeat(x, num_beams, axis=0)

        def unfinished(position, token_ids, live, done, state):
            return ops.logical_not(ops.all(beams.is_done(done)))

        batch = ops.shape(start_ids)[0]
        live, done = beams.begin(batch, num_beams, self.max_tokens, self.end_id)
        start_ids = repeat(ops.cast(start_ids, "int32"))
        state = tree.map_structure(repeat, state)
        _, _, live, done, _ = ops.while_loop(
            unfinished,
            self._advance_beams(memory, length_penalty),
            (ops.cast(0, "int32"), start_ids, live, done, state),
            maximum_iterations=self.max_tokens,
        )
        return beams.merge_unfinished(done, live, self.max_tokens**length_penalty)

    def _advance_beams(self, memory, length_penalty):
        """Builds the loop body of `beams`."""

        def advance(position, token_ids, live, done, state):
            logits, state = self.step(token_ids, position, state, memory)
            num_beams, max_tokens = live[0].shape[1:]
            flat = ops.reshape(live[0], (-1, max_tokens))
            logits = self.rules.apply(logits, flat, position, self.end_id)
            written, totals, parents = beams.extend(live, logits, position)
            ends = ops.take(written, position, axis=2) == self.end_id
            length = ops.cast(position + 1, "float32") ** length_penalty
            scores = ops.where(totals > NEVER / 2, totals / length, NEVER)
            done = beams.collect(done, (written, scores), ends)
            live, order = beams.continue_best((written, totals), ends, num_beams)
            token_ids = ops.reshape(ops.take(live[0], position, axis=2), (-1,))
            rows = beams.rows_of(pick(parents, order), num_beams)
            state = tree.map_structure(lambda x: ops.take(x, rows, axis=0), state)
            return position + 1, token_ids, live, done, state

        return advance

    def _write(self, state, memory, start_ids, choose):
        """Writes one prompt per row; `choose` maps logits and position to tokens."""
        start_ids = ops.cast(start_ids, "int32")
        batch = ops.shape(start_ids)[0]
        written = ops.full((batch, self.max_tokens), self.end_id, "int32")
        ended = ops.zeros((batch,), "bool")
        total = ops.zeros((batch,), "float32")
        length = ops.zeros((batch,), "float32")

        def unfinished(position, token_ids, written, ended, total, length, state):
            return ops.logical_not(ops.all(ended))

        def advance(position, token_ids, written, ended, total, length, state):
            logits, state = self.step(token_ids, position, state, memory)
            logits = self.rules.apply(logits, written, position, self.end_id)
            token_ids, log_probs = choose(logits, position)
            token_ids = ops.where(ended, self.end_id, token_ids)
            alive = ops.cast(ops.logical_not(ended), "float32")
            # Not slice_update, which is an XLA operation that TF Serving lacks.
            here = ops.arange(self.max_tokens) == position
            written = ops.where(here[None], token_ids[:, None], written)
            ended = ops.logical_or(ended, token_ids == self.end_id)
            total, length = total + alive * log_probs, length + alive
            return position + 1, token_ids, written, ended, total, length, state

        _, _, written, ended, total, length, _ = ops.while_loop(
            unfinished,
            advance,
            (ops.cast(0, "int32"), start_ids, written, ended, total, length, state),
            maximum_iterations=self.max_tokens,
        )
        return written, total / ops.maximum(length, 1), ended


def _take_most_likely(logits, position):
    token_ids = largest(logits)
    return token_ids, log_probs_of_largest(logits, token_ids)
