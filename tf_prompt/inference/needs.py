"""Dry run of `predict`: what serving a model takes, without loading its weights."""

import math
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_prompt.data.text import START_ID
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference.neighbours import NEIGHBOURS
from tf_prompt.models import language_bases
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.sizes import Sizes, format_megabytes, format_rows
from tf_prompt.runs.model_file import read_network
from tf_prompt.runs.run import Run


def describe_run(run_dir: str, batch_size: int, decoding: DecodingConfig) -> str:
    """Tells what a run's model needs to write prompts; see `measure`.

    Args:
        run_dir: folder of a run, or `knn:FOLDER`.
        batch_size: images at once.
        decoding: how a captioner decodes.

    Returns:
        A table, as text.

    Raises:
        FileNotFoundError: if there is no run, or no model in it.
        ValueError: if a file is damaged, or a base is out of reach.
    """
    members = _members(run_dir)
    sizes = [_measure_run(run, batch_size, decoding) for run in members]
    rows, copies = [], batch_size * max(decoding.num_beams, decoding.rerank)
    parameters = sum(size.parameters for size in sizes)
    rows.append(("parameters", f"{parameters:,}"))
    for run in members:
        source = language_bases.find_source(run.preset, run.config.backbone_weights)
        if source is not None:
            download = language_bases.count_download(source, run.preset)
            here = f"{format_megabytes(download)} to download" if download else "here"
            rows.append(("base", f"{source}, {here}"))
    weights = sum(size.weights for size in sizes)
    state, largest = (max(getattr(s, n) for s in sizes) for n in ("state", "largest"))
    rows.append(("weights", format_megabytes(weights)))
    if state:
        rows.append((f"state of {copies} prompts", format_megabytes(state)))
    rows.append((f"largest operation, {batch_size} images", format_megabytes(largest)))
    # A step of the loop holds the state that it reads and the one that it writes.
    rows.append(("GPU memory", format_megabytes(weights + 2 * state + largest)))
    return format_rows(rows)


def describe_saved_model(path: str) -> str:
    """Tells the parameters and the size of a SavedModel's weights, from their index.

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
            (
                "GPU memory",
                f"{format_megabytes(weights)}, and the batch: see --run-dir",
            ),
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
    """The runs whose models answer: the run's, and of an ensemble its members'."""
    run = Run(run_dir.removeprefix(NEIGHBOURS))
    found = [run]
    for member in run.config.members or ():
        found.extend(_members(member))
    return found


def _measure_run(run: Run, batch_size: int, decoding: DecodingConfig) -> Sizes:
    source = language_bases.find_source(run.preset, run.config.backbone_weights)
    # Variables of a graph take no memory before a session runs it.
    with tf.Graph().as_default() as graph:
        network = read_network(run.best_model())
        language_bases.attach_shape(network, source, run.preset)
        return measure(network, graph, batch_size, decoding)


def measure(network, graph, batch_size: int, decoding: DecodingConfig) -> Sizes:
    """Counts what a model takes, from the shapes of its graph alone.

    The rule: weights, in their precision; the state of decoding, which is keys and
    values for all tokens of every prompt that is written at once, `batch_size` times
    the beams or candidates, twice, as a step reads one and writes another; and the
    inputs and outputs of the largest single operation, of encoding a batch of images
    or of one step. What a framework reserves for itself is not counted.

    Args:
        network: a model, built within `graph`.
        graph: `tf.Graph` without values.
        batch_size, decoding: see `describe_run`.
    """
    weights = sum(
        math.prod(w.shape) * tf.as_dtype(w.dtype).size for w in network.weights
    )
    parameters = sum(math.prod(w.shape) for w in network.weights)
    if isinstance(network, Ensemble):
        return Sizes(parameters, weights, 0, 0)
    before, state = len(graph.get_operations()), ()
    side = network.image_size
    images = tf.zeros((batch_size, side, side, 3), tf.uint8)
    if hasattr(network, "step"):
        state = _write(network, images, max(decoding.num_beams, decoding.rerank))
    elif hasattr(network, "encode_images"):
        network.encode_images(images)
    else:
        network.extract_features(images)
    operations = graph.get_operations()[before:]
    return Sizes(
        parameters,
        weights,
        sum(_bytes_of(tensor) for tensor in keras.tree.flatten(state)),
        max(_bytes_around(operation) for operation in operations),
    )


def _write(network, images, copies: int):
    """Encodes images and takes one step for each copy; returns what a loop keeps."""
    state, memory = network.encode(images)
    kept = keras.tree.map_structure(lambda x: tf.repeat(x, copies, 0), (state, memory))
    token_ids = tf.fill((images.shape[0] * copies,), np.int32(START_ID))
    network.step(token_ids, tf.constant(0), *kept)
    return kept


def _bytes_of(tensor) -> int:
    if tensor.dtype == tf.resource or not tensor.shape.is_fully_defined():
        return 0
    return tensor.shape.num_elements() * tensor.dtype.size


def _bytes_around(operation) -> int:
    """The bytes that an operation reads and writes, but weights and views."""
    if operation.type in ("ReadVariableOp", "Reshape", "Identity", "Const"):
        return 0
    inputs = [x for x in operation.inputs if x.op.type != "ReadVariableOp"]
    return sum(map(_bytes_of, (*inputs, *operation.outputs)))
