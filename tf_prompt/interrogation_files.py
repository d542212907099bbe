"""From a run folder or a pretrained CLIP, and image files, to prompts."""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tf_prompt import clip_tokens, images, phrases, prediction
from tf_prompt.config import take_options
from tf_prompt.decoding_config import DecodingConfig
from tf_prompt.interrogation import Interrogated, Interrogator, Options
from tf_prompt.metrics import cosine
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.training import run_folder

# In a run's folder: embeddings of its phrases.
CACHE = "phrase_embeddings"
# Where nobody asks for another: on the toy set its prompts have the highest cosine
# with the true ones.
DEFAULT_MODE = "classic"


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
        embedder=cosine.load_embedder(),
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
        captioner = prediction.build_writer(network, vocabulary, DecodingConfig())
    embedder = None
    if options.json and options.embedding:
        embedder = cosine.load_embedder()
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


def interrogate_files(
    interrogator: Interrogator,
    paths: Sequence[pathlib.Path],
    batch_size: int,
    captioner: Callable | None = None,
) -> Iterator[dict]:
    """Interrogates image files; a bad file costs nobody else.

    Args:
        interrogator: the interrogator.
        paths: the files.
        batch_size: images at once.
        captioner: function of `prediction`, from a list of bytes to a dict of
            `prompt`; it sees the files at its own size.

    Yields:
        In the order of `paths`: dicts of `path` and what `Interrogated` has, as JSON
        content, or of `path` and `error`.
    """
    hidden = len(paths) <= batch_size
    with tqdm.tqdm(total=len(paths), unit="image", disable=hidden) as bar:
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            yield from _interrogate_batch(interrogator, batch, captioner)
            bar.update(len(batch))


def _interrogate_batch(interrogator, paths, captioner):
    found, pictures, encoded = {}, {}, []
    for path in paths:
        try:
            data = prediction.read_image(path)
            pictures[path] = images.decode_image(data, interrogator.model.image_size)
            encoded.append(data)
        except OSError as error:
            found[path] = {"error": error.strerror or str(error)}
        except tf.errors.InvalidArgumentError:
            found[path] = {"error": f"not an image ({' '.join(images.SUFFIXES)})"}
    if pictures:
        captions = None
        if captioner is not None:
            captions = [prompt.decode() for prompt in captioner(encoded)["prompt"]]
        results = interrogator(np.stack(list(pictures.values())), captions)
        found.update(zip(pictures, map(to_json, results), strict=True))
    for path in paths:
        yield {"path": prediction.printable(path), **found[path]}


def to_json(result: Interrogated) -> dict:
    """Turns a result into JSON content."""
    content = {
        "prompt": result.prompt,
        "similarity": round(result.similarity, 6),
        "phrases": {
            table: [[phrase, round(score, 6)] for phrase, score in pairs]
            for table, pairs in result.phrases.items()
        },
    }
    if result.embedding is not None:
        content["embedding"] = result.embedding.tolist()
    return content
