"""What a SavedModel offers: the signatures of each kind of model."""

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, text
from tf_prompt.inference import interrogator, neighbours
from tf_prompt.inference.bank import PromptBank, build_bank, read_prompts, training_bank
from tf_prompt.inference.captioner import GraphCaptioner, PromptWriter, is_word
from tf_prompt.inference.embedding_models import GraphEnsemble, GraphRegressor
from tf_prompt.inference.graph_embedder import PartEmbedder
from tf_prompt.inference.interrogator import GraphInterrogator
from tf_prompt.inference.loading import BANK_CACHE
from tf_prompt.inference.model import GraphMember
from tf_prompt.inference.neighbours import GraphNeighbours
from tf_prompt.inference.table import MAX_TABLE_BYTES, Table
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.runs import folder as run_folder
from tf_prompt.serving.saved_model import SIGNATURE

NUM_BEAMS = 3


class Servable(Protocol):
    """What `versions.export` takes.

    Attributes:
        image_size: pixels a side of the largest pictures that it looks at.
        signatures: by name, a `tf.function` with an input signature whose one input
            has a name and an unknown batch size; it gives a dict of tensors whose
            first axis is the batch.
    """

    image_size: int
    signatures: dict[str, Callable]


class CaptionerServable:
    """A captioner: its prompts in several ways.

    `serving_default` takes `image_bytes`, gives `prompt`, `score`; `pixels` takes
    uint8 `pixels`, `(batch, image_size, image_size, 3)`, and gives the same; `beam`
    gives both as `(batch, num_beams)`, best first; `attention` gives `words`, string
    `(batch, max_tokens)`, and `weights`, float32 `(batch, max_tokens, regions)`;
    `embed` gives `embedding`, float32 `(batch, 384)`. Of a broken image prompts and
    words are empty, scores and embedding NaN, weights 0.

    Args:
        writer: of prompts.
        num_beams: int > 0, prompts of `beam`.
        parts: embeds the prompts; None leaves `embed` out.
    """

    def __init__(
        self,
        writer: PromptWriter,
        num_beams: int = NUM_BEAMS,
        parts: PartEmbedder | None = None,
    ):
        self._writer, self._num_beams, self._parts = writer, num_beams, parts
        self.image_size = size = writer.image_size
        # Functions of their own, so that a SavedModel holds each once.
        self._open = _of_bytes(functools.partial(images.decode_batch, sizes=[size]))
        self._decode = _of_pixels(writer.decode, size)
        self.signatures = {
            SIGNATURE: _of_bytes(self._serve),
            "pixels": _of_pixels(self._read, size),
            "beam": _of_bytes(self._beam),
            "attention": _of_bytes(self._attend),
        }
        if parts is not None:
            self.signatures["embed"] = _of_bytes(self._embed)

    def _serve(self, image_bytes):
        (pictures,), sound = self._open(image_bytes)
        written = self._read(pictures)
        return dict(zip(written, images.blank(sound, *written.values()), strict=True))

    def _read(self, pixels):
        token_ids, scores, _ = self._decode(pixels)
        return {"prompt": self._writer.join_words(token_ids), "score": scores}

    def _beam(self, image_bytes):
        (pictures,), sound = self._open(image_bytes)
        found = self._writer.search_beams(pictures, self._num_beams)
        sound = tf.repeat(sound[:, None], self._num_beams, axis=1)
        prompts, scores = images.blank(sound, *found)
        return {"prompt": prompts, "score": scores}

    def _attend(self, image_bytes):
        (pictures,), sound = self._open(image_bytes)
        token_ids, _, _ = self._decode(pictures)
        weights = self._writer.attend(pictures, token_ids)
        words = self._writer.list_words(token_ids)
        return {
            "words": tf.where(sound[:, None], words, ""),
            "weights": tf.where(sound[:, None, None], weights, 0.0),
        }

    def _embed(self, image_bytes):
        (pictures,), sound = self._open(image_bytes)
        token_ids, _, _ = self._decode(pictures)
        words = tf.ragged.boolean_mask(token_ids, is_word(token_ids))
        (embedding,) = images.blank(sound, self._parts(words))
        return {"embedding": embedding}


class EmbeddingServable:
    """A model of embeddings.

    `serving_default` takes `image_bytes`, gives `embedding`, float32 `(batch, 384)`,
    and, where the model writes prompts or there is a bank of them, `prompt` and
    `score`; `embed` gives `embedding` alone. Of a broken image the prompt is empty,
    all numbers are NaN.

    Args:
        member: the model.
        bank: prompts, of which the nearest to the embedding is given where the model
            writes none; their cosine is the score.

    Raises:
        ValueError: if the bank is too large, see `table.Table`.
    """

    def __init__(self, member: GraphMember, bank: PromptBank | None = None):
        self._member, self._table = member, None
        self.image_size = max(member.sizes)
        if bank is not None:
            # In the words that a vocabulary is made of, as `predict` writes them.
            prompts = [text.normalise(prompt) for prompt in bank.prompts]
            self._table = Table(bank.embeddings, prompts)
        self._shared = _of_bytes(self._describe)
        self.signatures = {
            SIGNATURE: _of_bytes(lambda image_bytes: self._shared(image_bytes)),
            "embed": _of_bytes(self._embed),
        }

    def _describe(self, image_bytes):
        sizes = self._member.sizes
        pictures, sound = images.decode_batch(image_bytes, sizes)
        found = self._member.describe(dict(zip(sizes, pictures, strict=True)))
        if "prompt" not in found and self._table is not None:
            _, cosines, prompts = self._table.nearest(found["embedding"])
            found |= {"prompt": prompts[:, 0], "score": cosines[:, 0]}
        return dict(zip(found, images.blank(sound, *found.values()), strict=True))

    def _embed(self, image_bytes):
        return {"embedding": self._shared(image_bytes)["embedding"]}


def load_captioner(
    run_dir: str | pathlib.Path,
    num_beams: int,
    embedder: prompt_embedder.PromptEmbedder | None,
) -> CaptionerServable:
    """Loads a captioner's run.

    Args:
        run_dir: its folder.
        num_beams: int > 0, prompts of the signature `beam`.
        embedder: of `prompt_embedder.load_embedder`; None leaves `embed` out.

    Raises:
        FileNotFoundError, ValueError: as `folder.load_run`.
    """
    _, vocabulary, model = run_folder.load_run(run_dir)
    parts = None if embedder is None else PartEmbedder(vocabulary, embedder)
    return CaptionerServable(PromptWriter(model, vocabulary), num_beams, parts)


def load_graph_member(spec: str | pathlib.Path) -> GraphMember:
    """Loads a run's model as part of a graph; see `loading.load_member`.

    Args:
        spec: folder of a run of any model, or `knn:FOLDER`.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if it is not of such a model, or too large.
    """
    spec = str(spec)
    if spec.startswith(neighbours.NEIGHBOURS):
        found = neighbours.NeighbourMember(spec.removeprefix(neighbours.NEIGHBOURS))
        return GraphNeighbours(found.image_size, found.look, found.index)
    config, model = run_folder.load_model(spec)
    if isinstance(model, EmbeddingRegressor):
        return GraphRegressor(model)
    if isinstance(model, Ensemble):
        parts = [load_graph_member(member) for member in config.members]
        return GraphEnsemble(model, parts)
    if isinstance(model, CLIPInterrogator):
        return GraphInterrogator(interrogator.load_interrogator(spec))
    if isinstance(model, Captioner):
        vocabulary = run_folder.read_vocabulary(spec, model)
        writer = PromptWriter(model, vocabulary)
        parts = PartEmbedder(vocabulary, prompt_embedder.load_embedder())
        return GraphCaptioner(writer, parts)
    raise ValueError(
        f"run_dir must hold a model of images. Received: {spec} with {config.preset}"
    )


def _of_bytes(function):
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    return tf.function(function, input_signature=[spec])


def _of_pixels(function, size):
    spec = tf.TensorSpec((None, size, size, 3), tf.uint8, name="pixels")
    return tf.function(function, input_signature=[spec])


def load_servable(options) -> Servable:
    """Loads what is to be exported; says on stderr what is left out.

    Args:
        options: `export.ExportConfig`.

    Raises:
        FileNotFoundError: if a part of the run, or the bank, is missing.
        ValueError: if the model cannot be exported.
    """
    run = run_folder.read_config(options.run_dir)
    if presets.kind(run.preset) == "captioner":
        if options.bank is not None:
            raise ValueError(
                f"bank must be left out with preset {run.preset}. "
                f"Received: {options.bank}"
            )
        embedder = _find_embedder() if options.embed else None
        return load_captioner(options.run_dir, options.num_beams, embedder)
    member = load_graph_member(options.run_dir)
    if presets.kind(run.preset) == "interrogator":
        # It writes prompts itself.
        return EmbeddingServable(member)
    return EmbeddingServable(member, _load_bank(options, run))


def _find_embedder():
    try:
        return prompt_embedder.load_embedder()
    except ValueError as error:
        print(f"the signature `embed` is left out: {error}", file=sys.stderr)
        return None


def _load_bank(options, run):
    if options.bank is not None:
        prompts = read_prompts(options.bank)
        cache = pathlib.Path(options.run_dir) / BANK_CACHE
        return build_bank(prompts, prompt_embedder.load_embedder(), cache)
    bank = training_bank(data_folder.find_data(run.data))
    most = MAX_TABLE_BYTES // (4 * prompt_embedder.EMBEDDING_DIM)
    if len(bank.prompts) > most:
        print(
            f"prompt and score are left out: the {len(bank.prompts):,} training "
            f"prompts are more than {most:,}; give fewer with --bank",
            file=sys.stderr,
        )
        return None
    return bank
