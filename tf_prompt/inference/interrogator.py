"""A CLIP that ranks phrases, and its prompt, as part of one graph."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_prompt.inference.graph_embedder import PartEmbedder, PartTokens
from tf_prompt.inference.model import Prediction, _compile
from tf_prompt.inference.table import Table
from tf_prompt.interrogation import clip_tokens, phrases
from tf_prompt.interrogation.interrogator import Interrogator, Options
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.runs import folder as run_folder

# The one mode that can be drawn as a graph, and the one that predicts by default.
MODE = "classic"
_OF = "of"
# Tables whose best phrase is taken, in the order of the prompt; of the others, which
# are kinds of flavours, it is the best three together.
_SCENE, _STYLE = ("subjects", "settings"), ("artists", "movements")
_MEDIA, _NUM_FLAVOURS = "media", 3
# In a run's folder: embeddings of its phrases.
CACHE = "phrase_embeddings"
# Where nobody asks for another: on the toy set its prompts have the highest cosine
# with the true ones.
DEFAULT_MODE = "classic"


class GraphInterrogator:
    """See `interrogator.InterrogatorMember`.

    A prompt is a row of parts with a space between each two. For each phrase there
    are two, the phrase and the phrase with a comma; one more part is "of".

    Args:
        interrogator: without a captioner, with an embedder, in the mode `classic`.

    Raises:
        ValueError: for another one, or if the phrases are too many, see `Table`.
    """

    def __init__(self, interrogator: Interrogator):
        mode, captioner = interrogator.options.mode, interrogator.captioner
        if mode != MODE or captioner is not None:
            raise ValueError(
                f"an interrogator is exported in the mode {MODE}, without a captioner. "
                f"Received: mode={mode}, captioner={captioner}"
            )
        self._model = interrogator.model
        self.sizes = (self._model.image_size,)
        self._tables, phrases = _number_phrases(interrogator.tables)
        self._num_phrases = len(phrases)
        parts = [*phrases, *(f"{phrase}," for phrase in phrases), _OF]
        self._texts = tf.constant(parts)
        tokens = interrogator.tokens
        self._tokens = PartTokens(
            _list_ids(tokens, parts), tokens.start_id, tokens.end_id, tokens.max_tokens
        )
        self._embed = PartEmbedder(parts, interrogator.embedder)

    def describe(self, pictures) -> dict:
        """See `GraphMember`; scores are CLIP's similarities."""
        vectors = self._model.encode_images(pictures[self.sizes[0]])
        groups = self._choose(vectors)
        # A comma behind the last phrase of each group but the last.
        parts = [
            group[:-1] + [group[-1] + self._num_phrases] for group in groups[:-1]
        ] + groups[-1:]
        parts = tf.stack([part for group in parts for part in group], axis=1)
        prompts = tf.strings.reduce_join(
            tf.gather(self._texts, parts), axis=1, separator=" "
        )
        texts = self._model.encode_texts(self._tokens(parts).to_tensor(0))
        similarities = tf.reduce_sum(vectors * texts, axis=1)
        embeddings = self._embed(parts)
        return {"embedding": embeddings, "prompt": prompts, "score": similarities}

    def _choose(self, vectors) -> list[list]:
        """Numbers of the phrases, `(batch,)` each, in groups that commas part."""
        best = {
            name: first + table.nearest(vectors)[0][:, 0]
            for name, (table, first) in self._tables.items()
            if name
        }
        scene = [best[name] for name in _SCENE if name in best]
        if _MEDIA in best:
            of = [tf.fill(tf.shape(best[_MEDIA]), 2 * self._num_phrases)]
            scene = [best[_MEDIA], *(of + scene if scene else [])]
        groups = [scene] if scene else []
        groups += [[best[name]] for name in _STYLE if name in best]
        if "" in self._tables:
            flavours = self._choose_flavours(vectors)
            groups += [[part] for part in tf.unstack(flavours, axis=1)]
        return groups

    def _choose_flavours(self, vectors):
        table, first = self._tables[""]
        count = min(_NUM_FLAVOURS, self._num_phrases - first)
        rows, _, numbers = table.nearest(vectors, count)
        # Phrases of one table stand together, where its best one stands.
        same = numbers[:, :, None] == numbers[:, None, :]
        order = tf.argsort(tf.argmax(same, axis=2), axis=1, stable=True)
        return first + tf.gather(rows, order, batch_dims=1)


def _number_phrases(tables):
    """Numbers all phrases one after another.

    Returns:
        By name, a `Table` and the number of its first phrase; all tables of flavours
        are one without a name, whose values are the numbers of the tables. And the
        phrases.
    """
    named = [name for name in (_MEDIA, *_SCENE, *_STYLE) if name in tables]
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


class InterrogatorMember:
    """A CLIP that ranks phrases; the prompt that it makes of them is embedded.

    Args:
        run_dir: folder of its run.
        name: see `Member`.
    """

    def __init__(self, run_dir: str | pathlib.Path, name: str):
        self.name = name
        self._interrogator = load_interrogator(run_dir)
        self._model = self._interrogator.model
        self.image_size = self._model.image_size
        self._features = _compile(
            lambda images, training: self._model.encode_images(images), self.image_size
        )

    def embed(self, images) -> np.ndarray:
        """See `Member`."""
        return self.write(images).embeddings

    def write(self, images) -> Prediction:
        """Makes prompts, and embeds them; scores are CLIP's similarities."""
        results = self._interrogator(images)
        return Prediction(
            np.stack([result.embedding for result in results]),
            [result.prompt for result in results],
            np.array([result.similarity for result in results]),
        )

    def features(self, images) -> np.ndarray:
        """See `features_of`."""
        return self._features(images).numpy()


def load_run(run_dir: str | pathlib.Path):
    """Loads model, tokens and phrases of a CLIP's run.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: if it is another model's run, or a file is damaged.
    """
    run_dir = pathlib.Path(run_dir)
    config, model = run_folder.load_model(run_dir)
    if not isinstance(model, CLIPInterrogator):
        raise ValueError(
            "run_dir must hold a CLIP interrogator. "
            f"Received: {run_dir} with preset {config.preset}"
        )
    tokens = clip_tokens.load_tokens(run_dir / run_folder.TOKENIZER)
    files = sorted((run_dir / run_folder.PHRASES).glob("*.txt"))
    return model, tokens, phrases.read_tables(files)


def load_interrogator(run_dir: str | pathlib.Path) -> Interrogator:
    """Loads a CLIP's run as it predicts where nobody says how.

    Raises:
        FileNotFoundError, ValueError: as `load_run`; if MiniLM is not within reach.
    """
    model, tokens, tables = load_run(run_dir)
    return Interrogator(
        model,
        tokens,
        tables,
        pathlib.Path(run_dir) / CACHE,
        Options(mode=DEFAULT_MODE),
        embedder=prompt_embedder.load_embedder(),
    )


def load_pretrained(source: str):
    """Loads a pretrained CLIP and its tokens, see `models.clip.load_clip`.

    Raises:
        ValueError: if there is none within reach, or it has no tokenizer.
    """
    model = CLIPInterrogator(source)
    tokenizer = clip_tokens.load_tokenizer(source)
    if tokenizer.vocabulary_size() != model.vocab_size:
        raise ValueError(
            f"the tokenizer must have {model.vocab_size} entries, as the clip. "
            f"Received: {tokenizer.vocabulary_size()} in {source}"
        )
    return model, clip_tokens.CLIPTokens(tokenizer, model.max_tokens)
