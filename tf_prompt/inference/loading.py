"""Every model as one thing: a function from pictures to prompt embeddings."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_prompt.data import folder as data_folder
from tf_prompt.data import images, text
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import captioner
from tf_prompt.inference.attention import AttentionStrips
from tf_prompt.inference.bank import PromptBank, build_bank, read_prompts, training_bank
from tf_prompt.inference.captioner import CaptionerMember
from tf_prompt.inference.embedding_models import EnsembleMember, RegressorMember
from tf_prompt.inference.interrogator import (
    CACHE,
    InterrogatorMember,
    load_pretrained,
    load_run,
)
from tf_prompt.inference.model import Member, Prediction
from tf_prompt.inference.neighbours import NEIGHBOURS, NeighbourMember
from tf_prompt.interrogation import phrases
from tf_prompt.interrogation.interrogator import Interrogator, Options
from tf_prompt.metrics import prompt_embedder
from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.options import take_options
from tf_prompt.runs import folder as run_folder

BANK_CACHE = "prompt_bank"


def load_member(spec: str | pathlib.Path) -> Member:
    """Loads the model of a run folder.

    Args:
        spec: folder of a run of `tf_prompt.fit`; `knn:FOLDER` predicts from the
            training images nearest in the features of that run's model.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if it cannot be used so.
    """
    spec = str(spec)
    if spec.startswith(NEIGHBOURS):
        return NeighbourMember(spec.removeprefix(NEIGHBOURS))
    config, model = run_folder.load_model(spec)
    if isinstance(model, EmbeddingRegressor):
        return RegressorMember(model, config.preset)
    if isinstance(model, Ensemble):
        return EnsembleMember(
            model, [load_member(member) for member in config.members], config.preset
        )
    if isinstance(model, CLIPInterrogator):
        return InterrogatorMember(spec, config.preset)
    if isinstance(model, Captioner):
        vocabulary = run_folder.read_vocabulary(spec, model)
        writer = captioner.PromptWriter(model, vocabulary)
        return CaptionerMember(writer, prompt_embedder.load_embedder(), config.preset)
    raise ValueError(
        f"run_dir must hold a model of images. Received: {spec} with {config.preset}"
    )


def predict_encoded(member: Member, image_bytes) -> Prediction:
    """Predicts from encoded images, decoded at each model's own size.

    Args:
        member: of `load_member`.
        image_bytes: encoded images, sound ones.
    """
    if isinstance(member, EnsembleMember):
        parts = [predict_encoded(part, image_bytes) for part in member.members]
        embeddings = [part.embeddings for part in parts]
        return Prediction(member.join(np.stack(embeddings, axis=1)))
    pictures = _decode(image_bytes, member.image_size)
    if hasattr(member, "write"):
        return member.write(pictures)
    return Prediction(member.embed(pictures))


def features_of(member: Member, image_bytes) -> np.ndarray:
    """The features of encoded images in which a member's neighbours are near.

    Of an ensemble they are those of its first member.

    Returns:
        float32 `(images, depth)`.
    """
    while isinstance(member, EnsembleMember):
        member = member.members[0]
    return member.features(_decode(image_bytes, member.image_size))


def _decode(image_bytes, size):
    return np.stack([images.decode_image(data, size) for data in image_bytes])


def build_writer(model, vocabulary, options: DecodingConfig) -> Callable:
    """Makes a captioner a function of encoded images.

    Args:
        model: a `Captioner`.
        vocabulary: token of each id.
        options: how to write.

    Returns:
        As `load_saved_model`.
    """
    # Here, because a SavedModel needs no Keras, whose import takes seconds.
    from tf_prompt.inference import captioner

    writer = captioner.build_writer(model, vocabulary, options)

    def serve(image_bytes):
        written = writer.serve(tf.constant(image_bytes))
        return {name: value.numpy() for name, value in written.items()}

    # Keras, which embeds the candidates of reranking, promises nothing to threads.
    serve.is_thread_safe = not options.rerank
    return serve


def load(options) -> tuple[Interrogator, Callable | None]:
    """Loads what the command line asks for.

    Args:
        options: `interrogate.InterrogateConfig`.

    Returns:
        The interrogator, and the captioner as a function of encoded images.
    """
    tables = phrases.read_tables(options.phrases)
    cache_dir = options.cache_dir
    if options.run_dir is None:
        model, tokens = load_pretrained(options.clip)
    else:
        model, tokens, own = load_run(options.run_dir)
        tables = join_tables(own, tables)
        cache_dir = cache_dir or pathlib.Path(options.run_dir) / CACHE
    captioner = None
    if options.captioner is not None:
        _, vocabulary, network = run_folder.load_run(options.captioner)
        captioner = build_writer(network, vocabulary, DecodingConfig())
    embedder = None
    if options.json and options.embedding:
        embedder = prompt_embedder.load_embedder()
    how = take_options(Options, options)
    interrogator = Interrogator(
        model, tokens, tables, cache_dir, how, embedder=embedder
    )
    return interrogator, captioner


def join_tables(
    tables: Mapping[str, Sequence[str]], own: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Adds a user's tables; phrases of an equal name join those that are there."""
    names = dict.fromkeys([*tables, *own])
    return {
        name: list(dict.fromkeys([*tables.get(name, ()), *own.get(name, ())]))
        for name in names
    }


def load_writer(
    run_dir: str | pathlib.Path,
    decoding: DecodingConfig,
    bank_file: str | None = None,
) -> tuple[Callable, keras.Model | None, list[str] | None]:
    """Makes a run's model a writer of prompts.

    Args:
        run_dir: the run's folder.
        decoding: how a captioner writes; other models take the default only.
        bank_file: see `build_bank_writer`.

    Returns:
        A function from a list of bytes to a dict of `prompt` and `score`; and of a
        captioner its model and vocabulary, else None.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: for options that mean nothing to the model.
    """
    preset = run_folder.read_config(run_dir).preset
    if presets.kind(preset) == "captioner":
        if bank_file is not None:
            raise ValueError(
                f"bank must be left out with preset {preset}. Received: {bank_file}"
            )
        _, vocabulary, model = run_folder.load_run(run_dir)
        return build_writer(model, vocabulary, decoding), model, vocabulary
    if decoding != DecodingConfig():
        raise ValueError(f"ways of decoding go with captioners. Received: {preset}")
    return build_bank_writer(run_dir, bank_file), None, None


def load_with_attention(
    run_dir: str | pathlib.Path,
    decoding: DecodingConfig,
    bank_file: str | None,
    attention_dir: str | None,
) -> tuple[Callable, AttentionStrips | None]:
    """Loads a writer, and what draws where it looked.

    Args:
        run_dir, decoding, bank_file: see `load_writer`.
        attention_dir: folder of the pictures to draw; None draws none.

    Raises:
        FileNotFoundError, ValueError: as `load_writer`; or for attention of a model
            that has none.
    """
    writer, model, vocabulary = load_writer(run_dir, decoding, bank_file)
    if attention_dir is None:
        return writer, None
    if model is None:
        raise ValueError(f"attention goes with captioners. Received: {run_dir}")
    return writer, AttentionStrips(model, vocabulary, attention_dir)


def build_bank_writer(
    run_dir: str | pathlib.Path, bank_file: str | None = None
) -> Callable:
    """Makes a run of any model a function of encoded images.

    A model that writes prompts itself, such as an interrogator, keeps them; of the
    others it is the nearest prompt of a bank.

    Args:
        run_dir: the run's folder, where the embeddings of a bank file are kept too.
        bank_file: text file of one prompt a line; None takes the prompts that the
            run was trained on.

    Returns:
        A function from a list of bytes to a dict of `prompt`, a list of bytes, and
        `score`, float32 `(images,)`: the cosine of the predicted embedding with
        that of the prompt, or the model's own of a prompt that it wrote.

    Raises:
        FileNotFoundError: if the run, its data or the bank are missing.
    """
    member = load_member(run_dir)
    if bank_file is None:
        folder = data_folder.find_data(run_folder.read_config(run_dir).data)
        return BankWriter(member, training_bank(folder))
    cache = pathlib.Path(run_dir) / BANK_CACHE
    prompts = read_prompts(bank_file)
    return BankWriter(
        member, build_bank(prompts, prompt_embedder.load_embedder(), cache)
    )


class BankWriter:
    """Says of an image which prompt of a bank is nearest to its embedding.

    Args:
        member: predicts embeddings.
        bank: prompts to choose among.
    """

    def __init__(self, member: Member, bank: PromptBank):
        self._member, self._bank = member, bank

    def __call__(self, image_bytes) -> dict:
        """See `build_bank_writer`."""
        found = predict_encoded(self._member, list(image_bytes))
        prompts, scores = found.prompts, found.scores
        if prompts is None:
            nearest, cosines = self._bank.nearest(found.embeddings)
            prompts = [" ".join(text.split_words(best[0])) for best in nearest]
            scores = cosines[:, 0]
        return {"prompt": [prompt.encode() for prompt in prompts], "score": scores}
