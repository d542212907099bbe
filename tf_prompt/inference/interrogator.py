"""CLIP interrogators at inference: images in, prompts of ranked phrases out."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.inference.graph_embedder import PartEmbedder, PartTokens
from tf_prompt.inference.model import PromptModel
from tf_prompt.inference.table import Table
from tf_prompt.interrogation.interrogator import (
    CLASSIC,
    CLASSIC_FLAVOURS,
    SCENE,
    Interrogator,
)

# The only mode that can be exported as a graph, and the default for predictions: on
# the toy set its prompts have the highest cosine with the true ones.
MODE = "classic"
_OF = "of"
# The best phrase of each of these tables is used, in the order of the prompt. All other
# tables are kinds of flavours; the best three phrases of all of them are used.
_MEDIA, *_STYLE = CLASSIC
_SUBJECTS, _ = SCENE


class InterrogatorModel(PromptModel):
    """A CLIP that ranks phrases, builds a prompt from them and embeds it.

    A prompt is a sequence of parts joined by spaces. Each phrase gives two parts, the
    phrase alone and with a comma; one more part is "of".

    Args:
        interrogator: in the mode `classic`, with an embedder, without a captioner.
        name: see `PromptModel`.

    Raises:
        ValueError: for another mode, or with a captioner.
    """

    score_name = "similarity by CLIP"

    def __init__(self, interrogator: Interrogator, name: str):
        mode, captioner = interrogator.options.mode, interrogator.captioner
        if mode != MODE or captioner is not None:
            raise ValueError(
                f"an exported interrogator must be in the mode {MODE}, without a "
                "captioner. "
                f"Received: mode={mode}, captioner={captioner}"
            )
        self._network = interrogator.model
        self._tables, phrases = _number_phrases(interrogator.tables)
        self._num_phrases = len(phrases)
        parts = [*phrases, *(f"{phrase}," for phrase in phrases), _OF]
        self._texts = tf.constant(parts)
        tokens = interrogator.tokens
        self._tokens = PartTokens(
            _list_ids(tokens, parts), tokens.start_id, tokens.end_id, tokens.max_tokens
        )
        self._embed_parts = PartEmbedder(parts, interrogator.embedder)
        super().__init__(name, [self._network.image_size])

    def require_exportable(self) -> None:
        """See `PromptModel`."""
        for table, _ in self._tables.values():
            table.require_exportable()

    def _describe(self, images):
        vectors = self._features(images)
        groups = self._choose(vectors)
        # A comma after each group but the last.
        parts = [
            group[:-1] + [group[-1] + self._num_phrases] for group in groups[:-1]
        ] + groups[-1:]
        parts = tf.stack([part for group in parts for part in group], axis=1)
        prompts = tf.strings.reduce_join(
            tf.gather(self._texts, parts), axis=1, separator=" "
        )
        texts = self._network.encode_texts(self._tokens(parts).to_tensor(0))
        similarities = tf.reduce_sum(vectors * texts, axis=1)
        embeddings = self._embed_parts(parts)
        return {"embedding": embeddings, "prompt": prompts, "score": similarities}

    def _features(self, images):
        return self._network.encode_images(images[self.image_size])

    def _choose(self, vectors) -> list[list]:
        """Numbers of the phrases, `(batch,)` each; commas go between the groups."""
        best = {
            name: first + table.nearest(vectors)[0][:, 0]
            for name, (table, first) in self._tables.items()
            if name
        }
        scene = [best[name] for name in SCENE if name in best]
        media = [best[_MEDIA]] if _MEDIA in best else []
        if media and _SUBJECTS in best:
            of = tf.fill(tf.shape(media[0]), 2 * self._num_phrases)
            media, scene = [], [*media, of, *scene]
        groups = [group for group in (media, scene) if group]
        groups += [[best[name]] for name in _STYLE if name in best]
        if "" in self._tables:
            flavours = self._choose_flavours(vectors)
            groups += [[part] for part in tf.unstack(flavours, axis=1)]
        return groups

    def _choose_flavours(self, vectors):
        table, first = self._tables[""]
        count = min(CLASSIC_FLAVOURS, self._num_phrases - first)
        rows, _, numbers = table.nearest(vectors, count)
        # Phrases of one table stay together, at the place of the best of them.
        same = numbers[:, :, None] == numbers[:, None, :]
        order = tf.argsort(tf.argmax(same, axis=2), axis=1, stable=True)
        return first + tf.gather(rows, order, batch_dims=1)


def _number_phrases(tables):
    """Numbers all phrases one after another.

    Returns:
        numbered: dict from name to a `Table` and the number of its first phrase. All
            tables of flavours are joined under the name ""; its values say which table
            a phrase came from.
        phrases: list of all phrases.
    """
    named = [name for name in (_MEDIA, *SCENE, *_STYLE) if name in tables]
    numbered, phrases = {}, []
    for name in named:
        numbered[name] = Table(tables[name].vectors), len(phrases)
        phrases += tables[name].phrases
    others = sorted(set(tables) - set(named))
    if others:
        vectors = np.concatenate([tables[name].vectors for name in others])
        owners = [i for i, name in enumerate(others) for _ in tables[name].phrases]
        numbered[""] = Table(vectors, owners), len(phrases)
        phrases += [phrase for name in others for phrase in tables[name].phrases]
    return numbered, phrases


def _list_ids(tokens, parts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each part, without start and end."""
    rows = []
    for start in range(0, len(parts), 1024):
        for row in tokens(parts[start : start + 1024]):
            # The end token has the highest id.
            rows.append(row[1 : int(np.argmax(row))])
    return rows
