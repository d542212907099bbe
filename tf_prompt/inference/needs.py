"""Dry run of `predict`: the memory a model needs, without loading its weights."""

import math
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import memory
from tf_prompt.inference.neighbours import NEIGHBOURS
from tf_prompt.models import language_bases, language_presets
from tf_prompt.runs.model_file import read_network
from tf_prompt.runs.run import Run


def describe_run(run_dir: str, batch_size: int, decoding: DecodingConfig) -> str:
    """Describes what a run's model needs to write prompts; see `memory.measure`.

    Args:
        run_dir: folder of a run, or `knn:FOLDER`.
        batch_size: images per batch.
        decoding: how a captioner decodes.

    Returns:
        A table, as text.

    Raises:
        FileNotFoundError: if there is no run, or no model in it.
        ValueError: if a file is damaged, or a pretrained base cannot be found.
    """
    members = [(run, _source_of(run)) for run in _members(run_dir)]
    each = [_measure_run(*member, batch_size, decoding) for member in members]
    # Members run one after the other.
    sizes = memory.Sizes(
        parameters=sum(size.parameters for size in each),
        weights=sum(size.weights for size in each),
        state=max(size.state for size in each),
        batch=max(size.batch for size in each),
    )
    rows = [("parameters", f"{sizes.parameters:,}")]
    for run, source in members:
        if source is not None:
            download = language_bases.count_download(source, run.preset)
            here = f"{format_megabytes(download)} to download" if download else "here"
            rows.append(("base", f"{source}, {here}"))
    rows.append(("weights", format_megabytes(sizes.weights)))
    rows.append((f"batch of {batch_size}", format_megabytes(sizes.batch)))
    if sizes.state:
        copies = batch_size * max(decoding.num_beams, decoding.rerank)
        rows.append((f"  state of {copies} prompts", format_megabytes(sizes.state)))
    rows.append(("GPU memory", format_megabytes(sizes.served)))
    return format_rows(rows)


def describe_saved_model(path: str) -> str:
    """Describes the weights of a SavedModel, from their index.

    Args:
        path: folder of one version of the model.

    Returns:
        A table, as text.

    Raises:
        FileNotFoundError: if there is no SavedModel.
        ValueError: if its index is damaged.
    """
    if not (pathlib.Path(path) / "saved_model.pb").is_file():
        raise FileNotFoundError(
            "saved_model must be a version's folder, with saved_model.pb. "
            f"Received: {path}"
        )
    reader = _open_index(path)
    types = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    names = [name for name, dtype in types.items() if dtype != tf.string]
    parameters = sum(math.prod(shapes[name]) for name in names)
    weights = sum(math.prod(shapes[name]) * types[name].size for name in names)
    return format_rows(
        [
            ("parameters", f"{parameters:,}"),
            ("weights", format_megabytes(weights)),
            ("GPU memory", "weights and a batch; --run-dir counts both"),
        ]
    )


def _open_index(path):
    try:
        return tf.train.load_checkpoint(str(pathlib.Path(path, "variables/variables")))
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"saved_model must hold its variables. Received: {path}"
        ) from error


def _members(run_dir: str) -> Sequence[Run]:
    """A run, and if it is an ensemble, the runs of its members."""
    run = Run(run_dir.removeprefix(NEIGHBOURS))
    found = [run]
    for member in run.config.members or ():
        found.extend(_members(member))
    return found


def _source_of(run: Run) -> str | None:
    return language_bases.find_source(run.preset, run.config.backbone_weights)


def _measure_run(
    run: Run, source: str | None, batch_size: int, decoding: DecodingConfig
) -> memory.Sizes:
    if run.preset not in language_presets.PRESETS:
        # Others compute tables of positions in their `build`, which fails in a graph.
        return memory.measure(read_network(run.best_model), batch_size, decoding)
    # Variables of a graph take no memory before a session runs it.
    with tf.Graph().as_default():
        network = read_network(run.best_model)
        language_bases.attach_shape(network, source, run.preset)
        return memory.measure(network, batch_size, decoding)


def format_megabytes(count: int) -> str:
    """Formats a number of bytes for a dry run, in MB of 2^20 bytes."""
    return f"{count / 2**20:,.0f} MB"


def format_rows(rows: Sequence[tuple[str, str]]) -> str:
    """Formats names and values, one pair per line."""
    width = max(22, *(len(name) + 2 for name, _ in rows))
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
