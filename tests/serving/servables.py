"""SavedModels as TF Serving sees them: names, versions, labels, signatures, batches.

Codes and texts of errors are those of TF Serving 2.x; clients read them.
"""

import pathlib
import queue
import threading

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

WARMUP = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
_BATCH_WAIT_SECONDS = 0.005


class ServingError(Exception):
    """An answer that is no result: the name of a gRPC status, and text."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code, self.text = code, text


class Servable:
    """One version of a model, warmed up.

    Args:
        path: the version's folder.
        batch_size: images at most of several requests that are run as one; 0 runs
            each by itself.

    Attributes:
        signature_defs: name to `SignatureDef`.
        batcher: the `Batcher` that joins requests, or None.
    """

    def __init__(self, path: pathlib.Path, batch_size: int = 0):
        # The signatures alone do not keep the model's variables alive.
        self._loaded = tf.saved_model.load(path)
        self._signatures = self._loaded.signatures
        saved = saved_model_pb2.SavedModel.FromString(
            (path / "saved_model.pb").read_bytes()
        )
        self.signature_defs = {
            name: definition
            for name, definition in saved.meta_graphs[0].signature_def.items()
            if name in self._signatures
        }
        self.batcher = Batcher(self._run_alone, batch_size) if batch_size else None
        if (path / WARMUP).is_file():
            for record in tf.data.TFRecordDataset(str(path / WARMUP)):
                log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
                request = log.predict_log.request
                inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
                self._run_alone(request.model_spec.signature_name, inputs)

    def specs_of(self, signature: str) -> dict[str, tf.TensorSpec]:
        """The inputs of a signature, by name."""
        return self._signatures[signature].structured_input_signature[1]

    def run(self, signature: str, inputs: dict, output_filter=()) -> dict:
        """Runs a signature.

        Args:
            signature: its name; serving_default if empty.
            inputs: arrays by name.
            output_filter: names of the outputs wanted; all if empty.

        Returns:
            Arrays by name.

        Raises:
            ServingError: for names that there are not, and whatever fails inside.
        """
        signature = signature or "serving_default"
        if signature not in self._signatures:
            text = f'Serving signature key "{signature}" not found.'
            raise ServingError("FAILED_PRECONDITION", text)
        self._check_inputs(inputs, set(self.specs_of(signature)))
        names = set(self._signatures[signature].structured_outputs)
        for name in output_filter:
            if name not in names:
                raise ServingError(
                    "INVALID_ARGUMENT",
                    f"output tensor alias not found in signature: {name} Outputs "
                    f"expected to be in the set {{{','.join(sorted(names))}}}.",
                )
        outputs = (self.batcher or self._run_alone)(signature, inputs)
        return {name: outputs[name] for name in output_filter or outputs}

    def _check_inputs(self, inputs, names) -> None:
        if len(inputs) != len(names):
            sent, wanted = ",".join(sorted(inputs)), ",".join(sorted(names))
            raise ServingError(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(inputs)}!={len(names)} "
                f"len({{{sent}}}) != len({{{wanted}}}).",
            )
        for name in inputs:
            if name not in names:
                raise ServingError(
                    "INVALID_ARGUMENT",
                    f"input tensor alias not found in signature: {name}. Inputs "
                    f"expected to be in the set {{{','.join(sorted(names))}}}.",
                )

    def _run_alone(self, signature, inputs) -> dict:
        run, specs = self._signatures[signature], self.specs_of(signature)
        try:
            tensors = {k: tf.constant(v, specs[k].dtype) for k, v in inputs.items()}
            for name, tensor in tensors.items():
                if not specs[name].shape.is_compatible_with(tensor.shape):
                    text = f"Shape of {name} is not compatible: {tensor.shape}"
                    raise ServingError("INVALID_ARGUMENT", text)
            return {name: value.numpy() for name, value in run(**tensors).items()}
        except (TypeError, ValueError) as error:
            raise ServingError("INVALID_ARGUMENT", str(error)) from error
        except tf.errors.OpError as error:
            code = type(error).__name__.removesuffix("Error")
            codes = {"InvalidArgument": "INVALID_ARGUMENT", "NotFound": "NOT_FOUND"}
            raise ServingError(codes.get(code, "INTERNAL"), error.message) from error


class Batcher:
    """Joins requests that come at the same time, as `batching.config` makes it.

    Args:
        run: from a signature's name and its inputs to its outputs.
        batch_size: rows at most of requests that are joined.

    Attributes:
        sizes: rows of each batch that was run.
    """

    def __init__(self, run, batch_size: int):
        self._function, self._batch_size = run, batch_size
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self.sizes: list[int] = []
        threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, signature, inputs) -> dict:
        answer: queue.SimpleQueue = queue.SimpleQueue()
        self._waiting.put((signature, inputs, answer))
        outputs = answer.get()
        if isinstance(outputs, ServingError):
            raise outputs
        return outputs

    def _work(self) -> None:
        left = None
        while True:
            batch = [left or self._waiting.get()]
            left = None
            rows = _count_rows(batch[0])
            while rows < self._batch_size:
                try:
                    request = self._waiting.get(timeout=_BATCH_WAIT_SECONDS)
                except queue.Empty:
                    break
                rows += _count_rows(request)
                if request[0] != batch[0][0] or rows > self._batch_size:
                    left = request
                    break
                batch.append(request)
            self._run(batch)

    def _run(self, batch) -> None:
        sizes = [_count_rows(request) for request in batch]
        self.sizes.append(sum(sizes))
        names = batch[0][1]
        try:
            joined = {n: np.concatenate([b[1][n] for b in batch]) for n in names}
            outputs = self._function(batch[0][0], joined)
        except ServingError as error:
            for _, _, answer in batch:
                answer.put(error)
            return
        ends = np.cumsum(sizes)
        for (_, _, answer), size, end in zip(batch, sizes, ends, strict=True):
            answer.put({n: v[end - size : end] for n, v in outputs.items()})


def _count_rows(request) -> int:
    return len(next(iter(request[1].values())))


class Models:
    """All models of a folder.

    Args:
        folder: `<model>/<version>/saved_model.pb`.
        labels: model to label to version.
        batch_size: as for `Servable`.
    """

    def __init__(self, folder: pathlib.Path, labels=None, batch_size: int = 0):
        self._labels = labels or {}
        self._versions: dict[str, dict[int, Servable]] = {}
        for file in sorted(pathlib.Path(folder).glob("*/*/saved_model.pb")):
            model, version = file.parts[-3:-1]
            if version.isdigit():
                servable = Servable(file.parent, batch_size)
                self._versions.setdefault(model, {})[int(version)] = servable

    def list_versions(self, model: str) -> list[int]:
        """Numbers of a model's versions.

        Raises:
            ServingError: if there are none.
        """
        if model not in self._versions:
            text = f"Could not find any versions of model {model}"
            raise ServingError("NOT_FOUND", text)
        return sorted(self._versions[model])

    def names(self) -> list[str]:
        """Names of all models."""
        return sorted(self._versions)

    def find(self, model: str, version=None, label=None) -> tuple[int, Servable]:
        """A version by its number or its label, or else the latest.

        Raises:
            ServingError: if there is none.
        """
        if label:
            labels = self._labels.get(model, {})
            if label not in labels:
                text = f"Unrecognized servable version label: {label}"
                raise ServingError("INVALID_ARGUMENT", text)
            version = labels[label]
        versions = self._versions.get(model, {})
        asked = (
            f"Latest({model})" if version is None else f"Specific({model}, {version})"
        )
        version = max(versions, default=None) if version is None else version
        if version not in versions:
            text = f"Servable not found for request: {asked}"
            raise ServingError("NOT_FOUND", text)
        return version, versions[version]
