"""Warm-up requests, which a server runs before it answers its first user."""

import pathlib

import numpy as np
import tensorflow as tf

from tf_prompt.data.graphs import without_tuning
from tf_prompt.serving.saved_model import SIGNATURE, SavedPromptWriter

# The batch sizes that a server may form, as in saved_models/batching.config.
BATCH_SIZES = (1, 2, 4, 8, 16)
FILE = pathlib.Path("assets.extra", "tf_serving_warmup_requests")
MISSING = (
    "no warm-up requests were written, because they need tensorflow-serving-api. "
    'Install it with: pip install "tf_prompt[tf-serving]"'
)
_SIDE = 64


def is_available() -> bool:
    """Whether the package that defines the requests is installed."""
    try:
        import tensorflow_serving.apis.prediction_log_pb2  # noqa: F401
    except ImportError:
        return False
    return True


def write_requests(
    path: pathlib.Path, saved: SavedPromptWriter, model_name: str
) -> None:
    """Writes the warm-up requests of a SavedModel.

    There is one request per batch size for the default signature, and one for each
    other signature.

    Args:
        path: folder of the SavedModel.
        saved: the model, loaded from there.
        model_name: name under which it is served.
    """
    file = path / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, spec in saved.inputs.items():
            sizes = BATCH_SIZES if signature == SIGNATURE else BATCH_SIZES[:1]
            for batch_size in sizes:
                request = _build_request(model_name, signature, spec, batch_size)
                writer.write(request.SerializeToString())
    replay(saved, file)


def replay(saved: SavedPromptWriter, file: pathlib.Path) -> list[tuple[str, int]]:
    """Runs warm-up requests as a server would.

    Args:
        saved: the model.
        file: written by `write_requests`.

    Returns:
        list of the signature and the batch size of each request.

    Raises:
        ValueError: if the model fails on one of them.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    answered = []
    requests = without_tuning(tf.data.TFRecordDataset(str(file)))
    for record in requests.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        signature = request.model_spec.signature_name
        (value,) = map(tf.make_ndarray, request.inputs.values())
        try:
            found = saved.run(signature, value)
        except (tf.errors.OpError, KeyError) as error:
            raise ValueError(
                "a warm-up request must be answered. Received: "
                f"{signature} of {len(value)} with {error}"
            ) from error
        if any(len(output) != len(value) for output in found.values()):
            raise ValueError(
                f"an answer must have a row per image. Received: {signature} of "
                f"{len(value)} with {[output.shape for output in found.values()]}"
            )
        answered.append((signature, len(value)))
    return answered


def _build_request(model_name, signature, spec, batch_size):
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    if spec.dtype == tf.string:
        value = np.array([_draw()] * batch_size, object)
    else:
        value = np.full((batch_size, *spec.shape[1:]), 127, spec.dtype.as_numpy_dtype)
    request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(value))
    return log


def _draw() -> bytes:
    rows, columns = np.mgrid[:_SIDE, :_SIDE] * 255 // (_SIDE - 1)
    image = np.stack([rows, columns, (rows + columns) // 2], axis=-1)
    return tf.io.encode_png(image.astype(np.uint8)).numpy()
