"""One process, several devices, several processes, several rounds: one training."""

import csv
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import SMALL_TRANSFORMER
from tf_prompt.data import caption_batches, sharding
from tf_prompt.data.reading import Reading
from tf_prompt.data.text import SPECIAL_TOKENS
from tf_prompt.data.vocabulary import WordVocabulary
from tf_prompt.runs import workers
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.training import loop, multi_worker, private_names, recipes, strategy
from tf_prompt.training.optimizers import OnePassAdamW

WORKER = pathlib.Path(__file__).with_name("fit_worker.py")
CLUSTER = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}


def tf_config(task, cluster=CLUSTER):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def options_for(shards, **overrides):
    """Nothing is drawn at random while it trains: replicas would draw alike."""
    return {
        "data": str(shards),
        "epochs": 2,
        "batch_size": 16,
        "warmup_steps": 2,
        "max_words": 5,
        "flip": False,
        "set": [*SMALL_TRANSFORMER, "dropout_rate=0.0"],
        **overrides,
    }


def config_for(shards, **overrides):
    options = options_for(shards, **overrides)
    return FitConfig(**{**options, "set": tuple(options["set"])})


def test_tf_config_numbers_the_chief_first():
    assert workers.read_tf_config({}) is None
    assert workers.read_tf_config({"TF_CONFIG": " "}) is None
    chief = workers.read_tf_config(tf_config({"type": "chief", "index": 0}))
    last = workers.read_tf_config(tf_config({"type": "worker", "index": "1"}))
    assert chief == workers.Workers(0, ("a:1", "b:2", "c:3"))
    assert chief.is_chief and not last.is_chief
    assert (last.index, last.count) == (2, 3)
    assert list(last.share_of(10)) == [6, 7, 8, 9]


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "TF_CONFIG must be JSON. Received: {"),
        ("[]", "TF_CONFIG must name a cluster"),
        ("{}", "TF_CONFIG must name a cluster"),
        ('{"cluster": {"ps": ["a:1"]}}', "TF_CONFIG must name a cluster"),
        ('{"cluster": {"worker": ["a"]}}', "must give addresses as HOST:PORT"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG must have a task of type"),
        (tf_config({"type": "ps", "index": 0})["TF_CONFIG"], "chief or worker"),
        (tf_config({"type": "worker", "index": 2})["TF_CONFIG"], "index from 0 to 1"),
        (tf_config({"type": "worker", "index": -1})["TF_CONFIG"], "index from 0 to 1"),
        (tf_config({"type": "worker"})["TF_CONFIG"], "index from 0 to 1"),
    ],
)
def test_broken_tf_config_is_named(content, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", content)
    with pytest.raises(ValueError, match=message):
        strategy.build_strategy()


def test_strategies_by_name(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert isinstance(strategy.build_strategy(), tf.distribute.MirroredStrategy)
    one = strategy.build_strategy(name="one_device")
    assert isinstance(one, tf.distribute.OneDeviceStrategy)
    with pytest.raises(ValueError, match="multi_worker needs TF_CONFIG"):
        strategy.build_strategy(name="multi_worker")
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", tf_config(task, {"worker": ["a:1"]})["TF_CONFIG"])
    assert strategy.find_workers("auto") is None
    monkeypatch.setenv("TF_CONFIG", tf_config(task)["TF_CONFIG"])
    assert strategy.find_workers("auto").count == 3
    assert strategy.find_workers("mirrored") is None


def test_worker_that_does_not_come_is_named():
    own, other = free_ports(2)
    found = workers.Workers(0, (f"localhost:{own}", f"localhost:{other}"))
    with pytest.raises(ConnectionError, match=f"worker 1 at localhost:{other} did not"):
        workers.meet(found, timeout=0.3)


@pytest.mark.parametrize("text", ["4", "4/4", "a/4", "1/0", "-1/4"])
def test_share_is_checked(text):
    with pytest.raises(ValueError, match="share must be INDEX/COUNT"):
        workers.parse_share(text)


def test_share_of_one_is_all():
    assert workers.parse_share("0/1") is None
    assert workers.parse_share("2/4").index == 2


def test_batches_are_cut_by_round_and_replica():
    batches = tf.data.Dataset.from_tensors((tf.range(12), tf.range(12) * 10))
    # Two rounds of three replicas, of which this worker has the last two.
    share = sharding.Share(1, 2, 3, accumulate_steps=2)
    parts = [x.tolist() for x, _ in share.cut(batches).as_numpy_iterator()]
    assert parts == [[2, 3], [4, 5], [8, 9], [10, 11]]


def test_last_batch_is_cut_unevenly():
    batches = tf.data.Dataset.range(5).batch(3)
    shares = [sharding.Share(first, 1, 3) for first in range(3)]
    parts = [
        [p.tolist() for (p,) in s.cut(batches).as_numpy_iterator()] for s in shares
    ]
    assert [len(own) for own in parts] == [2, 2, 2]
    assert sorted(sum(sum(parts, []), [])) == [0, 1, 2, 3, 4]


def batches_of(shards, share=None, **overrides):
    arguments = {
        "image_size": 8,
        "batch_size": 16,
        "seed": 3,
        "epochs": range(1),
        "shuffle_buffer": 50,
        **overrides,
    }
    vocabulary = [*SPECIAL_TOKENS, "patch", "red", "green", "blue", "white"]
    reading = Reading(folder=shards, share=share, **arguments)
    batches = caption_batches.training_batches(
        reading, WordVocabulary(vocabulary), max_tokens=5
    )
    return list(batches.as_numpy_iterator())


def test_workers_by_element_have_the_batches_of_one(tiny_shards):
    whole = batches_of(tiny_shards)
    parts = [batches_of(tiny_shards, sharding.Share(i, 1, 2)) for i in range(2)]
    assert [len(own) for own in parts] == [len(whole)] * 2
    for batch, first, second in zip(whole, *parts, strict=True):
        for ours, a, b in zip(
            *map(tf.nest.flatten, (batch, first, second)), strict=True
        ):
            np.testing.assert_array_equal(ours, np.concatenate([a, b]))


@pytest.mark.slow
def test_steps_passed_over_are_left_out_of_rounds(tiny_shards):
    share = sharding.Share(accumulate_steps=2)
    whole = batches_of(tiny_shards, share)
    later = batches_of(tiny_shards, share, skip=3)
    assert len(later) == len(whole) - 3
    np.testing.assert_array_equal(later[0][1], whole[3][1])


@pytest.mark.slow
def test_workers_by_file_have_files_and_steps_of_their_own(tiny_shards):
    # Three workers, eight files: the last has two, too few for its part.
    share = [sharding.Share(i, 1, 3, steps_per_epoch=4, files=(i, 3)) for i in range(3)]
    parts = [batches_of(tiny_shards, s, batch_size=24) for s in share]
    assert [len(own) for own in parts] == [4, 4, 4]
    assert all(len(targets) == 8 for own in parts for _, targets, _ in own)
    names = tf.data.Dataset.range(8)
    files = [list(s.choose_files(names).as_numpy_iterator()) for s in share]
    assert files == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_files_are_shared_where_they_are_large(tiny_shards, monkeypatch):
    shards = sorted(map(str, tiny_shards.glob("train-*")))
    assert not sharding.reads_files("auto", shards, 2)
    assert sharding.reads_files("file", shards, 8)
    with pytest.raises(ValueError, match="shard_by must be element for 9 workers"):
        sharding.reads_files("file", shards, 9)
    monkeypatch.setattr(sharding, "SMALL_SPLIT", 100)
    assert sharding.reads_files("auto", shards, 8)
    assert not sharding.reads_files("auto", shards, 9)


def test_batches_that_cannot_be_cut_are_refused(tiny_shards, tmp_path):
    with pytest.raises(ValueError, match="a multiple of 3 accumulate_steps. Rec.*16"):
        loop.train(config_for(tiny_shards, accumulate_steps=3), tmp_path / "run")
    clip = FitConfig(preset="clip_interrogator_tiny", accumulate_steps=2)
    with pytest.raises(ValueError, match="accumulate_steps must be left out"):
        recipes.complete(clip)


def test_keras_still_needs_the_repair():
    """Fails once Keras is repaired: then `training/multi_worker.py` may go."""
    from keras.src.backend.tensorflow import trainer

    class MultiWorker(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):
            pass

        extended = type("Extended", (), {"_in_multi_worker_mode": lambda self: True})()

        def reduce(self, op, value, axis=None):
            if axis == 0 and not value.shape.rank:
                raise ValueError("a scalar has no axis to reduce")
            return value

    with pytest.raises(ValueError, match="a scalar has no axis"):
        trainer.reduce_per_replica({"loss": tf.constant(1.0)}, MultiWorker(), "auto")


def test_repair_is_for_versions_it_was_tried_with(monkeypatch):
    assert keras.__version__.startswith(private_names.TRIED["keras"][1])
    monkeypatch.setattr(keras, "__version__", "3.99.0")
    with pytest.raises(ValueError, match="was tested with Keras 3.15.x only"):
        multi_worker.repair(None, None)


def train_tables(devices, rounds, clip):
    """Trains an embedding and a dense layer; a word comes twice in a batch."""
    keras.utils.set_random_seed(0)
    # Not collectives: those of several strategies in one process get mixed up.
    reduction = tf.distribute.ReductionToOneDevice()
    with tf.distribute.MirroredStrategy(devices, reduction).scope():
        model = keras.Sequential(
            [keras.Input((2,)), keras.layers.Embedding(5, 3), keras.layers.Dense(2)]
        )
        optimizer = OnePassAdamW(
            keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5),
            weight_decay=0.02,
            global_clipnorm=clip,
            gradient_accumulation_steps=rounds if rounds > 1 else None,
        )
        model.compile(optimizer, "mse", jit_compile=False)
    inputs = tf.constant([[0, 1], [2, 0], [4, 1], [0, 3]] * 3)
    targets = tf.reshape(tf.range(48.0) % 7, (12, 2, 2))
    model.fit(
        inputs, targets, batch_size=4 // rounds, epochs=3, verbose=0, shuffle=False
    )
    return model.get_weights()


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "devices, rounds, clip",
    [(2, 2, 0.1), *(slow(*v, c) for c in (0.1, 1e9) for v in ((1, 2), (2, 1), (1, 4)))],
)
def test_parts_of_a_batch_update_as_the_batch(devices, rounds, clip):
    names = [f"CPU:{i}" for i in range(devices)]
    whole = train_tables(["CPU:0"], 1, clip)
    for ours, theirs in zip(train_tables(names, rounds, clip), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(options, num_workers=1, kill=None):
    """Starts workers; `kill` is the worker, epoch and step of a SIGKILL."""
    addresses = [f"localhost:{port}" for port in free_ports(num_workers)]
    processes = []
    for index in range(num_workers):
        environ = {**os.environ, "PYTHONPATH": str(WORKER.parents[2])}
        environ.pop("TF_CONFIG", None)
        if num_workers > 1:
            task = {"type": "worker", "index": index}
            environ.update(tf_config(task, {"worker": addresses}))
        kill_at = kill[1:] if kill and kill[0] == index else None
        command = [WORKER, json.dumps(options), json.dumps(kill_at)]
        processes.append(
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes, timeout=150):
    """Gives what each printed and its last line on stderr; none may hang."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(out.strip(), error.strip().split("\n")[-1]) for out, error in outputs]


def run(options, **arguments):
    processes = start(options, **arguments)
    outputs = finish(processes)
    assert [p.returncode for p in processes] == [0] * len(processes), outputs
    return [digest for digest, _ in outputs]


def history_of(run_dir):
    with open(run_dir / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [[float(v) for k, v in row.items() if k != "seconds"] for row in rows]


def weights_of(run_dir):
    return Run(run_dir).model.get_weights()


def assert_same_run(ours, theirs):
    np.testing.assert_allclose(history_of(ours), history_of(theirs), rtol=1e-5)
    for a, b in zip(weights_of(ours), weights_of(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.fixture(scope="module")
def one(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("one") / "run"
    loop.train(config_for(tiny_shards), run_dir, strategy.build_strategy(["CPU:0"]))
    return run_dir


@pytest.mark.slow
def test_two_devices_clip_as_one(one, tiny_shards, tmp_path):
    two = strategy.build_strategy(["CPU:0", "CPU:1"])
    loop.train(config_for(tiny_shards), tmp_path / "run", two)
    assert_same_run(tmp_path / "run", one)


@pytest.mark.slow
def test_rounds_train_like_the_batch(one, tiny_shards, tmp_path):
    config = config_for(tiny_shards, accumulate_steps=4)
    loop.train(config, tmp_path / "run", strategy.build_strategy(["CPU:0"]))
    assert_same_run(tmp_path / "run", one)


@pytest.mark.slow
def test_two_processes_train_like_one(one, tiny_shards, tmp_path):
    run_dir = tmp_path / "run"
    digests = run(options_for(tiny_shards, run_dir=str(run_dir)), num_workers=2)
    assert len(digests[0]) == 64 and digests[0] == digests[1]
    assert_same_run(run_dir, one)
    left = {path.name for path in run_dir.iterdir()}
    assert {"config.json", "vocabulary.txt", "best.keras", "checkpoints"} <= left
    assert not list(run_dir.rglob("*.part*"))


@pytest.mark.slow
@pytest.mark.long
def test_workers_by_file_stay_equal(tiny_shards, tmp_path):
    # 24 pictures to validate on in batches of 32: one that is not full.
    options = options_for(
        tiny_shards, run_dir=str(tmp_path / "run"), shard_by="file", batch_size=32
    )
    digests = run(options, num_workers=2)
    assert digests[0] == digests[1]
    history = history_of(tmp_path / "run")
    assert history[1][1] < history[0][1]


@pytest.mark.slow
@pytest.mark.long
def test_killed_worker_ends_the_others_and_all_go_on(tiny_shards, tmp_path):
    options = options_for(tiny_shards, epochs=3, worker_timeout=60.0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run({**options, "run_dir": str(whole)}, num_workers=2)
    options["run_dir"] = str(killed)
    began = time.monotonic()
    processes = start(options, num_workers=2, kill=(1, 1, 3))
    outputs = finish(processes)
    assert time.monotonic() - began < 180
    assert processes[0].returncode == 2 and processes[1].returncode == -9
    assert "error: another worker was lost, so this one stops" in outputs[0][1]
    assert len(history_of(killed)) == 1
    digests = run(options, num_workers=2)
    assert digests[0] == digests[1]
    assert history_of(killed) == history_of(whole)
    for a, b in zip(weights_of(killed), weights_of(whole), strict=True):
        np.testing.assert_array_equal(a, b)
