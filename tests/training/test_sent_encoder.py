"""Encoders that workers of a cluster rebuild, against those of one process."""

import pathlib
import signal
import threading
import time
import types

import numpy as np
import pytest

from tests.conftest import copy_shards
from tests.pipelines.test_cluster import start
from tf_prompt.data import cluster
from tf_prompt.models import encoders
from tf_prompt.models.backbones import describe_backbone
from tf_prompt.training.tasks import cached_regions, sent_encoder


def small_efficientnet():
    """EfficientNet-Lite0's description, cut to two stages that stride."""
    description = describe_backbone("efficientnet_lite0", 32)
    arguments = description["arguments"]
    for name, value in arguments.items():
        if name.startswith("stackwise_"):
            arguments[name] = value[:2]
    arguments["stackwise_num_repeats"] = [1, 1]
    return description


def model_with(encoder, image_size=32):
    conv_filters = (8, 16) if encoder == "conv" else ()
    return types.SimpleNamespace(
        encoder=encoder,
        image_size=image_size,
        conv_filters=conv_filters,
        image_encoder=encoders.build_encoder(encoder, image_size, conv_filters),
        rotation_degrees=20.0,
        flip=True,
        erasing_rate=0.5,
    )


def task_of(folder):
    config = types.SimpleNamespace(cache_features=True, views=2, seed=3)
    return types.SimpleNamespace(config=config, folder=folder)


@pytest.fixture
def shards(tiny_shards, tmp_path):
    return copy_shards(tiny_shards, tmp_path / "shards", "*-0000[01].tfrecord")


@pytest.mark.parametrize("make", [small_efficientnet, lambda: "conv"])
def test_workers_write_the_files_of_one_process(
    make, shards, cluster_address, monkeypatch
):
    model = model_with(make())
    features = cached_regions.cached_regions(task_of(shards), model, "train")
    paths = [pathlib.Path(path) for row in features.paths for path in row]
    here = [np.fromfile(path, np.float16) for path in paths]
    kept, *gone = paths
    written = kept.stat().st_mtime_ns
    for path in gone:
        path.unlink()
    monkeypatch.setenv(cluster.VARIABLE, cluster_address)
    again = cached_regions.cached_regions(task_of(shards), model, "train")
    assert again == features
    assert kept.stat().st_mtime_ns == written
    # The worker is in this process, and has its threads.
    for path, expected in zip(paths, here, strict=True):
        np.testing.assert_array_equal(np.fromfile(path, np.float16), expected)
    assert not np.array_equal(here[0], here[1])


def sent(model, folder):
    extract = cached_regions._extractor(
        model.image_encoder, model.image_size, None, seed=0
    )
    return sent_encoder.send(folder, model, None, 0, extract)


def test_what_is_set_after_building_is_rebuilt(tmp_path, monkeypatch):
    """Keras's copy of EfficientNet-Lite pads like PyTorch: other features."""
    found = sent(model_with(small_efficientnet()), tmp_path)
    found.build(cached_regions._extractor)
    monkeypatch.setattr(
        sent_encoder,
        "build_encoder",
        lambda description, *rest: encoders.build_encoder(
            {**description, "same_padding": False}, *rest
        ),
    )
    with pytest.raises(ValueError, match="must compute the features that this machine"):
        found.build(cached_regions._extractor)


def test_other_weights_are_refused(tmp_path):
    found = sent(model_with("conv"), tmp_path)
    (tmp_path / sent_encoder.WEIGHTS).unlink()
    sent(model_with("conv"), tmp_path)
    with pytest.raises(ValueError, match="workers must have the encoder"):
        found.build(cached_regions._extractor)


@pytest.mark.slow
def test_a_killed_worker_changes_no_feature(shards, tmp_path, monkeypatch):
    """Workers are processes over TCP; one is killed with a shard in hand."""
    distributed = pytest.importorskip("distributed")
    task, model = task_of(shards), model_with(small_efficientnet())
    features = cached_regions.cached_regions(task, model, "train")
    paths = [pathlib.Path(path) for row in features.paths for path in row]
    here = [np.fromfile(path, np.float16) for path in paths]
    for path in paths:
        path.unlink()
    killed, flags = [], ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
    flags += ["--local-directory", str(tmp_path)]

    def kill_one(client):
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            places = client.scheduler_info()["workers"]
            busy = [place for place, tasks in client.processing().items() if tasks]
            if "w1" in [places[place]["id"] for place in busy]:
                workers[0].send_signal(signal.SIGKILL)
                killed.append("w1")

    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address=":0"
        ) as scheduler,
        distributed.Client(scheduler, set_as_default=False) as client,
    ):
        address = scheduler.scheduler_address
        words = ["distributed.cli.dask_worker", address, *flags]
        workers = [start(*words, "--name", name) for name in ("w1", "w2")]
        killer = threading.Thread(target=kill_one, args=[client])
        try:
            client.wait_for_workers(2, timeout=60)
            killer.start()
            monkeypatch.setenv(cluster.VARIABLE, address)
            assert cached_regions.cached_regions(task, model, "train") == features
            killer.join()
        finally:
            for process in workers:
                process.kill()
                process.communicate()
    assert killed
    # A worker has one thread: the last bits may differ.
    for path, expected in zip(paths, here, strict=True):
        found = np.fromfile(path, np.float16)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
