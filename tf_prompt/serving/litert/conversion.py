"""Converts a captioner to a LiteRT file, and checks what was written."""

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

import tf_prompt
from tf_prompt import files
from tf_prompt.data.text import END_ID, SPECIAL_TOKENS, START_ID
from tf_prompt.inference.model import Steps
from tf_prompt.serving.litert import writer

# Number of noise images with which the written file is tested.
_NUM_TRIALS = 4


def export(steps: Steps, name: str, precision: str, path: pathlib.Path) -> None:
    """Writes a captioner as one LiteRT file, which is verified before it gets its name.

    The file is a model with the signatures `encode`, from pixels to the decoder's
    state and memory, and `step`, from a token to the scores of the next. After the
    model comes an archive of its vocabulary and sizes, which is how TensorFlow Lite
    stores associated files; `unzip FILE` extracts them.

    Args:
        steps: from `PromptModel.steps`.
        name: name of the model, stored in the file.
        precision: precision of the weights, one of `litert.PRECISIONS`; `int8` also
            multiplies matrices in integers, with scales computed from each input.
        path: the file; an earlier export is replaced.

    Raises:
        ValueError: if another file is there, or the written file gives other prompts
            than the model.
    """
    _require_own(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _convert(steps, precision)
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
        _append(steps, name, precision, temporary)
        _check(steps, precision, temporary)


def _convert(steps, precision) -> bytes:
    signatures = _build_signatures(steps)
    module = tf.Module()
    variables = [v for f in signatures.values() for v in f.graph.variables]
    module.used = list({id(v): v for v in variables}.values())
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        with _silent():
            return converter.convert()


def _build_signatures(steps) -> dict:
    """Both signatures as concrete functions, of one image."""
    size, network, nested = steps.network.image_size, steps.network, {}

    def encode(pixels):
        nested["state"], nested["memory"] = network.encode(pixels)
        return name_parts("state", nested["state"]) | name_parts(
            "memory", nested["memory"]
        )

    pixels = tf.TensorSpec((1, size, size, 3), tf.uint8, name="pixels")
    encoder = tf.function(encode, autograph=False).get_concrete_function(pixels)

    def step(token_ids, position, **parts):
        state, memory = (
            tf.nest.pack_sequence_as(
                structure, [parts[name] for name in name_parts(key, structure)]
            )
            for key, structure in nested.items()
        )
        logits, state = network.step(token_ids, position, state, memory)
        logits = tf.cast(logits, tf.float32)
        return {"logits": logits} | name_parts("state", state)

    specs = {
        name: tf.TensorSpec(value.shape, value.dtype, name=name)
        for name, value in encoder.structured_outputs.items()
    }
    stepper = tf.function(step, autograph=False).get_concrete_function(
        token_ids=tf.TensorSpec((1,), tf.int32, name="token_ids"),
        position=tf.TensorSpec((), tf.int32, name="position"),
        **specs,
    )
    return {writer.ENCODE: encoder, writer.STEP: stepper}


def name_parts(key: str, structure) -> dict:
    """Names the tensors of a nested structure `state_0`, `state_1` and so on.

    Args:
        key: `state` or `memory`.
        structure: nested tensors.

    Returns:
        dict from name to tensor.
    """
    parts = tf.nest.flatten(structure)
    return {f"{key}_{index}": part for index, part in enumerate(parts)}


def _append(steps, name, precision, path) -> None:
    vocabulary = steps.vocabulary
    config = {
        "layout": writer.LAYOUT,
        "name": name,
        "precision": precision,
        "tf_prompt": tf_prompt.__version__,
        "image_size": steps.network.image_size,
        "max_tokens": steps.network.max_tokens,
        "start_id": START_ID,
        "end_id": END_ID,
        "num_special_tokens": len(SPECIAL_TOKENS),
        "banned_ids": list(steps.banned_ids),
        "is_raw": vocabulary.is_raw,
        "separator": vocabulary.separator,
    }
    lines = "".join(f"{token}\n" for token in vocabulary.tokens)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(writer.CONFIG, json.dumps(config, indent=1))
        archive.writestr(writer.VOCABULARY, lines)


def _check(steps, precision, path) -> None:
    """Compares the prompts of the file with the model's on images of noise."""
    size = steps.network.image_size
    noise = np.random.default_rng(0).integers(0, 256, (_NUM_TRIALS, size, size, 3))
    noise = noise.astype(np.uint8)
    written = writer.LiteRTWriter(path)
    found = [written.join(written.write_tokens(image)[0]) for image in noise]
    expected = [prompt.decode() for prompt in steps.write(noise)]
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    if precision == "float32" and same < _NUM_TRIALS:
        raise ValueError(
            "the LiteRT file must give the same prompts as the model. "
            f"Received: {found}, not {expected}"
        )
    if same < _NUM_TRIALS:
        print(
            f"{same} of {_NUM_TRIALS} images of noise get the same prompt in "
            f"{precision}: measure the file on real ones",
            file=sys.stderr,
        )


def _require_own(path) -> None:
    if not path.exists():
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if writer.CONFIG in archive.namelist():
                return
    except (OSError, zipfile.BadZipFile):
        pass
    raise ValueError(
        f"output must not hold another file of that name. Received: {path}; move it "
        "away, or give another --name"
    )


@contextlib.contextmanager
def _silent():
    """Silences the converter's own messages, which go to file descriptor 2."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
