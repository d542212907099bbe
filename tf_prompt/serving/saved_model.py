"""An exported model as functions, with TensorFlow only.

`predict --saved-model` needs neither Keras nor KerasHub, which take seconds to import.
"""

import pathlib
import re

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tf_prompt.inference.model import Scored, the_one_prompt

SIGNATURE = "serving_default"
# Graphs may hold operations that access files or the network, or call Python.
_FORBIDDEN = re.compile(
    "File|PyFunc|Print|Debug|Reader|Record|Text|Sql|Snapshot|Cache|DataService|LMDB|"
    "Summary|Save|Restore|Checkpoint|Event|Rpc|Generator|LoadDataset"
)


class SavedPromptWriter:
    """A SavedModel written by `export`, as a function of encoded images.

    Args:
        path: folder of one version.
        needs_prompt: whether its default signature must return prompts; embedding
            models that were exported without a bank do not.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of numpy arrays: `prompt`, bytes `(batch,)`, `score`, float32 `(batch,)`,
        and from embedding models `embedding`, float32 `(batch, 384)`. A broken
        image has an empty prompt and NaN for its numbers.

    Attributes:
        inputs: dict from signature to the `tf.TensorSpec` of its one input.

    Raises:
        FileNotFoundError: if there is no SavedModel.
        ValueError: if it lacks the signature, is damaged, or would access files.
    """

    is_thread_safe = True
    attends = False
    score_name = "mean log-probability per word"

    def __init__(self, path: str | pathlib.Path, needs_prompt: bool = True):
        path = pathlib.Path(path)
        if not (path / "saved_model.pb").is_file():
            raise FileNotFoundError(
                f"saved_model must be a version's folder, with saved_model.pb. "
                f"Received: {path}"
            )
        # Signatures do not keep the model's variables alive.
        self._loaded = _load(path)
        signature = self._loaded.signatures.get(SIGNATURE)
        inputs = signature and signature.structured_input_signature[1]
        if not inputs or "image_bytes" not in inputs:
            raise ValueError(
                f"saved_model must take `image_bytes` in {SIGNATURE}. Received: {path}"
            )
        if needs_prompt and "prompt" not in signature.structured_outputs:
            raise ValueError(
                f"saved_model must write prompts. Received: {path}, which was exported "
                "without a bank of prompts and only gives embeddings"
            )
        self.inputs = {
            name: next(iter(found.structured_input_signature[1].values()))
            for name, found in self._loaded.signatures.items()
        }

    def run(self, signature: str, value) -> dict:
        """Calls a signature.

        Args:
            signature: name of the signature.
            value: its one input, a tensor or a numpy array.

        Returns:
            dict of numpy arrays.
        """
        name = self.inputs[signature].name
        found = self._loaded.signatures[signature](**{name: tf.constant(value)})
        return {name: value.numpy() for name, value in found.items()}

    def write_best(self, image_bytes, count: int) -> list[list[Scored]]:
        """Writes one prompt per image, see `PromptModel.write_best`."""
        return the_one_prompt(self(image_bytes))

    def __call__(self, image_bytes) -> dict:
        return self.run(SIGNATURE, image_bytes)


def _load(path: pathlib.Path):
    """Loads a SavedModel whose operations only compute."""
    try:
        _check_operations((path / "saved_model.pb").read_bytes())
        return tf.saved_model.load(path)
    # A damaged file fails in protobuf, in the loader's Python, or in TensorFlow.
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ValueError(
            f"saved_model must be an intact export. Received: {path} ({reason})"
        ) from error


def _check_operations(content: bytes) -> None:
    """Checks all functions that loading and serving can call."""
    graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    # Without objects, TensorFlow would run the graph itself.
    if len(graphs) != 1 or not graphs[0].object_graph_def.nodes:
        raise ValueError("it is not of TensorFlow 2")
    library = {f.signature.name: f for f in graphs[0].graph_def.library.function}
    waiting, seen = list(graphs[0].object_graph_def.concrete_functions), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name].node_def:
            if node.op not in library and _FORBIDDEN.search(node.op):
                raise ValueError(f"it has the operation {node.op}")
            waiting.append(node.op)
            for value in node.attr.values():
                waiting += [value.func.name, *(f.name for f in value.list.func)]
