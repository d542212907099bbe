"""A bound of the GPUs' memory; no GPU is here, so TensorFlow's answers are ours."""

import pytest
import tensorflow as tf

from tf_prompt.inference.devices import bound_gpu_memory


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs; what is configured of each."""
    configured = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"])
    monkeypatch.setattr(
        tf.config, "set_logical_device_configuration", configured.__setitem__
    )
    return configured


def test_every_gpu_is_bounded(gpus):
    bound_gpu_memory(4096)
    assert {name: c.memory_limit for name, (c,) in gpus.items()} == {
        "a": 4096,
        "b": 4096,
    }


def test_nothing_is_bounded_by_default(gpus):
    bound_gpu_memory(None)
    assert gpus == {}


def test_too_late_is_one_line(gpus, monkeypatch):
    def refuse(gpu, configuration):
        raise RuntimeError("Virtual devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_logical_device_configuration", refuse)
    with pytest.raises(ValueError, match="before TensorFlow uses a GPU. Received: 100"):
        bound_gpu_memory(100)
