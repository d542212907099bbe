"""The memory that serving a model takes, computed from the shapes in its graph."""

import collections
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from tf_prompt.data.text import START_ID
from tf_prompt.decoding.config import DecodingConfig

# Operations whose output is their input, in another shape or under another name.
_VIEWS = ("Reshape", "Identity", "ExpandDims", "Squeeze", "StopGradient")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The memory that serving a model takes.

    Args:
        parameters: number of its parameters.
        weights: bytes of its weights.
        state: bytes that decoding keeps from step to step.
        batch: peak bytes of the tensors of a batch, the state included.
    """

    parameters: int
    weights: int
    state: int
    batch: int

    @property
    def served(self) -> int:
        """Bytes that serving takes: the weights, and a batch."""
        return self.weights + self.batch


def measure(network, batch_size: int, decoding: DecodingConfig) -> Sizes:
    """Computes the memory that serving a model takes, from shapes alone.

    It is the size of the weights, in their precision, plus the peak of the tensors
    alive while a batch is encoded and one decoding step is taken. A tensor is alive
    from the operation that computes it to the last that reads it. The decoding state
    is among them: keys and values for all tokens of every prompt written at once,
    `batch_size` times the beams or candidates, and twice while a step computes the
    next state. The framework's own memory and its copies of weights are not counted;
    docs/language_models.md compares the result with measured memory.

    Args:
        network: a model, eager or in the current `tf.Graph`.
        batch_size, decoding: see `needs.describe_run`.
    """
    shapes = [(math.prod(w.shape), tf.as_dtype(w.dtype).size) for w in network.weights]
    parameters = sum(count for count, _ in shapes)
    weights = sum(count * size for count, size in shapes)
    side = getattr(network, "image_size", None)
    if side is None:
        # An ensemble combines the embeddings of its members, and sees no images.
        return Sizes(parameters, weights, 0, 0)
    kept, found = (), ()

    def write():
        nonlocal kept, found
        images = tf.zeros((batch_size, side, side, 3), tf.uint8)
        if hasattr(network, "step"):
            copies = max(decoding.num_beams, decoding.rerank)
            kept, found = _write(network, images, copies)
        elif hasattr(network, "encode_images"):
            found = network.encode_images(images)
        else:
            found = network.extract_features(images)

    # Traced, never run.
    traced = tf.function(write, autograph=False).get_concrete_function()
    return Sizes(
        parameters,
        weights,
        sum(_bytes_of(tensor) for tensor in keras.tree.flatten(kept)),
        peak_of(traced.graph.get_operations(), keras.tree.flatten(found)),
    )


def _write(network, images, copies: int):
    """Encodes images and takes one step; returns the loop's state and the result."""
    state, memory = network.encode(images)
    kept = keras.tree.map_structure(lambda x: tf.repeat(x, copies, 0), (state, memory))
    token_ids = tf.fill((images.shape[0] * copies,), np.int32(START_ID))
    return kept, network.step(token_ids, tf.constant(0), *kept)


def peak_of(operations, results) -> int:
    """Computes the largest number of bytes of tensors alive at once.

    Args:
        operations: operations of a `tf.Graph`, in the order in which they run.
        results: tensors that stay alive to the end.
    """
    # A view shares the memory of its input; weights are counted already.
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
        if operation.type not in (*_VIEWS, "ReadVariableOp", "Const", "Placeholder"):
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
