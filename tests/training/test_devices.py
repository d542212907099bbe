"""The devices that train: what `fit` says of them first, and their sums."""

import json
import os

import pytest
import tensorflow as tf

from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.machine import devices
from tf_prompt.training import strategy


@pytest.mark.parametrize(
    "gpus, overrides, expected",
    [
        (["L4", "L4"], {}, "training on 2 × L4, in float32"),
        (["L4", "T4"], {}, "training on 1 × L4 and 1 × T4, in float32"),
        (["L4", "T4"], {"strategy": "one_device"}, "training on 1 × L4, in float32"),
        (
            ["L4"],
            {"mixed_precision": True},
            "training on 1 × L4, in float16, with float32 weights",
        ),
        ([], {}, f"training on the CPU, {os.cpu_count()} cores, in float32"),
    ],
)
def test_devices_that_will_train_are_named(gpus, overrides, expected, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda name: {"device_name": name},
    )
    monkeypatch.setattr(devices, "list_nvidia_gpus", lambda: [])
    assert strategy.describe_devices(FitConfig(**overrides)) == [expected]


def test_a_gpu_that_tensorflow_does_not_see_is_warned_of(monkeypatch):
    monkeypatch.setattr(devices, "list_nvidia_gpus", lambda: ["NVIDIA A100"])
    first, second = strategy.describe_devices(FitConfig())
    assert first.startswith("training on the CPU")
    assert second.startswith("warning: TensorFlow does not see the NVIDIA A100")


def test_a_worker_says_which_it_is(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    (line, *_) = strategy.describe_devices(FitConfig())
    assert "cores, as worker 2 of 3, in float32" in line


def test_sums_of_two_strategies_have_keys_of_their_own():
    def keys_of(mirrored):
        def add():
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.ones(3))

        graph = tf.function(lambda: mirrored.run(add)).get_concrete_function().graph
        found = [op for op in graph.get_operations() if op.type == "CollectiveReduceV2"]
        return {int(tf.get_static_value(op.inputs[2])) for op in found}

    devices = ["CPU:0", "CPU:1"]
    first, second = (keys_of(strategy.build_strategy(devices)) for _ in range(2))
    assert first and second and first.isdisjoint(second)
