"""Captioners with PyTorch as Keras' backend, where TensorFlow is not installed."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

SIZES = dict(
    image_size=32, vocab_size=20, conv_filters=(8, 8), embedding_dim=16, max_tokens=5
)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lstm_tiny", "transformer_tiny"])
def test_pytorch_gives_the_losses_of_tensorflow(preset, tmp_path):
    pytest.importorskip("torch")
    # Not above: the other process imports this module.
    import tensorflow as tf

    from tf_prompt.models import presets

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 32, 3)).astype("uint8")
    token_ids, target_ids = rng.integers(0, 20, (2, 3, 5)).astype("int32")
    inputs = {"images": images, "token_ids": token_ids, "target_ids": target_ids}
    model = presets.build(preset, **SIZES)
    weights = {f"weight_{i}": w for i, w in enumerate(model.get_weights())}
    np.savez(tmp_path / "given.npz", **inputs, **weights)
    run = [sys.executable, "-m", "tests.models.without_tensorflow", preset, tmp_path]
    root = pathlib.Path(__file__).parents[2]
    subprocess.run(
        run, env={**os.environ, "KERAS_BACKEND": "torch"}, cwd=root, check=True
    )
    found = np.load(tmp_path / "found.npz")
    expected = tf.function(model)(inputs).numpy()
    np.testing.assert_allclose(found["found"], expected, atol=1e-4)
    logits, _ = model.step(token_ids[:, 0], 0, *model.encode(images))
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    assert found["loss"] < expected[..., 0].mean()


@pytest.mark.parametrize("preset", ["lstm_tiny", "transformer_tiny"])
def test_half_precision_needs_no_casting_by_keras(preset):
    """On JAX Keras trains by `call`, not by `__call__`, which casts variables."""
    import keras

    from tf_prompt.models import presets

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = presets.build(preset, **SIZES)
    finally:
        keras.config.set_dtype_policy(before)
    images = np.zeros((2, 32, 32, 3), "uint8")
    logits = model.call({"images": images, "token_ids": np.ones((2, 3), "int32")})
    assert logits.dtype == "bfloat16"
