"""Dry run of `predict`: what serving a model takes, without loading its weights."""

import collections
import math
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_prompt.data.text import START_ID
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference.neighbours import NEIGHBOURS
from tf_prompt.models import language_bases, language_presets
from tf_prompt.models.sizes import Sizes, format_megabytes, format_rows
from tf_prompt.runs.model_file import read_network
from tf_prompt.runs.run import Run

# Operations whose output is their input, in another shape or under another name.
_VIEWS = ("Reshape", "Identity", "ExpandDims", "Squeeze", "StopGradient")


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
    state, batch = (max(getattr(s, n) for s in sizes) for n in ("state", "batch"))
    rows.append(("weights", format_megabytes(weights)))
    rows.append((f"batch of {batch_size}", format_megabytes(batch)))
    if state:
        rows.append((f"  state of {copies} prompts", format_megabytes(state)))
    rows.append(("GPU memory", format_megabytes(weights + batch)))
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
    if run.preset in language_presets.PRESETS:
        source = language_bases.find_source(run.preset, run.config.backbone_weights)
        # Variables of a graph take no memory before a session runs it.
        with tf.Graph().as_default():
            network = read_network(run.best_model())
            language_bases.attach_shape(network, source, run.preset)
            return measure(network, batch_size, decoding)
    # Others compute tables of positions as they are built, which a graph cannot.
    network, found = read_network(run.best_model()), []

    def trace():
        found.append(measure(network, batch_size, decoding))

    tf.function(trace, autograph=False).get_concrete_function()
    return found[0]


def measure(network, batch_size: int, decoding: DecodingConfig) -> Sizes:
    """Counts what a model takes, from the shapes of its graph alone.

    To be called where a graph is made; nothing is computed.

    The rule: weights, in their precision, and the peak of the tensors alive while a
    batch is encoded and one step of decoding is taken, each alive from the operation
    that makes it to the last that reads it. The state of decoding is among them: keys
    and values for all tokens of every prompt that is written at once, `batch_size`
    times the beams or candidates, and a second time while a step makes the next.
    What a framework keeps for itself is not counted, nor its copies of weights:
    docs/language_models.md compares with memory that was measured.

    Args:
        network: a model.
        batch_size, decoding: see `describe_run`.
    """
    shapes = [(math.prod(w.shape), tf.as_dtype(w.dtype).size) for w in network.weights]
    parameters = sum(count for count, _ in shapes)
    weights = sum(count * size for count, size in shapes)
    side = getattr(network, "image_size", None)
    if side is None:
        # An ensemble mixes what its members have made of images.
        return Sizes(parameters, weights, 0, 0)
    graph = tf.compat.v1.get_default_graph()
    before, kept, found = len(graph.get_operations()), (), ()
    images = tf.zeros((batch_size, side, side, 3), tf.uint8)
    if hasattr(network, "step"):
        copies = max(decoding.num_beams, decoding.rerank)
        kept, found = _write(network, images, copies)
    elif hasattr(network, "encode_images"):
        found = network.encode_images(images)
    else:
        found = network.extract_features(images)
    return Sizes(
        parameters,
        weights,
        sum(_bytes_of(tensor) for tensor in keras.tree.flatten(kept)),
        peak_of(graph.get_operations()[before:], keras.tree.flatten(found)),
    )


def _write(network, images, copies: int):
    """Encodes images, takes a step for each copy: what a loop keeps and gets."""
    state, memory = network.encode(images)
    kept = keras.tree.map_structure(lambda x: tf.repeat(x, copies, 0), (state, memory))
    token_ids = tf.fill((images.shape[0] * copies,), np.int32(START_ID))
    return kept, network.step(token_ids, tf.constant(0), *kept)


def peak_of(operations, results) -> int:
    """Computes the largest sum of bytes of tensors that are alive at once.

    Args:
        operations: of a `tf.Graph`, in the order in which they run.
        results: tensors that stay alive to the end.
    """
    # A view lives in the memory of what it is a view of; weights are counted already.
    memory, last_use = {}, {}
    for index, operation in enumerate(operations):
        if operation.type in _VIEWS:
            first = operation.inputs[0]
            memory[operation.outputs[0].ref()] = memory.get(first.ref(), first)
        for tensor in operation.inputs:
            last_use[memory.get(tensor.ref(), tensor).ref()] = index
    for tensor in results:
        last_use[memory.get(tensor.ref(), tensor).ref()] = len(operations)
    ends = collections.defaultdict(int)
    alive = peak = 0
    for index, operation in enumerate(operations):
        if operation.type not in (*_VIEWS, "ReadVariableOp", "Const"):
            for tensor in operation.outputs:
                size = _bytes_of(tensor)
                alive += size
                ends[last_use.get(tensor.ref(), index)] += size
        peak = max(peak, alive)
        alive -= ends.pop(index, 0)
    return peak


def _bytes_of(tensor) -> int:
    if tensor.dtype == tf.resource or not tensor.shape.is_fully_defined():
        return 0
    return tensor.shape.num_elements() * tensor.dtype.size
