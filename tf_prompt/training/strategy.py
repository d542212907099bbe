"""Which devices train, of this machine or of several."""

import collections
import contextlib
import hashlib
import os
import pathlib
import tempfile

import tensorflow as tf

from tf_prompt.data import reading, records, sharding
from tf_prompt.runs import workers
from tf_prompt.runs.machine import devices

# How a worker that is gone shows itself in those that are left.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def build_strategy(
    devices=None, name: str = "auto", timeout: float = 600.0
) -> tf.distribute.Strategy:
    """Chooses the devices that train.

    Args:
        devices: names such as `["CPU:0", "CPU:1"]`; None takes what there is.
        name: `mirrored`, all GPUs of this machine, or its CPU; `one_device`, its
            first GPU, or its CPU; `multi_worker`, all machines of `TF_CONFIG`;
            `auto`, the last where `TF_CONFIG` names several, or else the first.
        timeout: seconds that a worker waits for another, at the start and in a step.

    Raises:
        ValueError: if `TF_CONFIG` is broken, or not there for `multi_worker`.
        ConnectionError: if a worker does not come.
    """
    if name == "one_device":
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")
    found = find_workers(name) if devices is None else None
    if found is None:
        return tf.distribute.MirroredStrategy(devices)
    workers.meet(found, timeout)
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def describe_devices(config) -> list[str]:
    """Says which devices will train, and in which precision.

    It begins nothing: workers can still be joined.

    Args:
        config: the run's options.

    Returns:
        One line, and another where TensorFlow does not see a GPU that is there.

    Raises:
        ValueError: as `build_strategy`.
    """
    found = find_workers(config.strategy)
    gpus = tf.config.list_physical_devices("GPU")
    if config.strategy == "one_device":
        gpus = gpus[:1]
    details = map(tf.config.experimental.get_device_details, gpus)
    names = collections.Counter(d.get("device_name", "GPU") for d in details)
    listed = " and ".join(f"{count} × {name}" for name, count in names.items())
    where = listed or f"the CPU, {os.cpu_count()} cores"
    if found:
        where += f", as worker {found.index + 1} of {found.count}"
    precision = "float16, with float32 weights" if config.mixed_precision else "float32"
    lines = [f"training on {where}, in {precision}"]
    if not gpus and (unseen := devices.list_nvidia_gpus()):
        lines.append(f"warning: {devices.explain_unseen(unseen)}")
    return lines


def find_workers(name: str) -> workers.Workers | None:
    """Gives the workers that `--strategy NAME` trains on; None for this process alone.

    Raises:
        ValueError: as `build_strategy`.
    """
    if name in ("mirrored", "one_device"):
        return None
    found = workers.read_tf_config()
    if name == "multi_worker" and found is None:
        raise ValueError(
            "strategy multi_worker needs TF_CONFIG, which names the workers. "
            "Received: none in the environment"
        )
    if name == "auto" and found is not None and found.count == 1:
        return None
    return found


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train too."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


@contextlib.contextmanager
def writing_folder(strategy: tf.distribute.Strategy, run_dir: pathlib.Path):
    """Gives the folder that a worker writes into: the run's for the chief alone.

    The others write the same files into a folder that is gone at the end.
    """
    if not is_multi_worker(strategy) or workers.read_tf_config().is_chief:
        yield run_dir
        return
    with tempfile.TemporaryDirectory(prefix="tf_prompt-worker-") as folder:
        yield pathlib.Path(folder) / "run"


def make_share(strategy, config, folder, steps_per_epoch) -> sharding.Share | None:
    """Tells which parts of a run's batches this process takes; None takes all whole.

    Args:
        strategy: of `build_strategy`.
        config: the run's options, completed.
        folder: shards.
        steps_per_epoch: batches of an epoch.

    Raises:
        ValueError: if the batch size or the files cannot be shared.
    """
    rounds = config.accumulate_steps
    if not is_multi_worker(strategy):
        sharding.check_batch_size(config.batch_size, rounds)
        return sharding.Share(accumulate_steps=rounds) if rounds > 1 else None
    found = workers.read_tf_config()
    total = strategy.num_replicas_in_sync
    sharding.check_batch_size(config.batch_size, rounds, total)
    count = total // found.count
    shards = records.list_shards(folder, "train")
    by_file = sharding.reads_files(config.shard_by, shards, found.count)
    return sharding.Share(
        found.index * count,
        count,
        total,
        rounds,
        steps_per_epoch,
        (found.index, found.count) if by_file else None,
    )


def distribute(strategy: tf.distribute.Strategy, batches: tf.data.Dataset):
    """Makes batches what `model.fit` takes.

    Under several workers they are cut already: TensorFlow's own sharding would read
    whole batches in each.
    """
    batches = reading.without_tuning(batches)
    if not is_multi_worker(strategy):
        return batches
    return strategy.distribute_datasets_from_function(lambda _: batches)


def require_agreement(strategy: tf.distribute.Strategy, *facts) -> None:
    """Checks that all workers begin alike; does nothing where there is one.

    Args:
        strategy: of `build_strategy`.
        *facts: what must be equal, with a `repr` that is the same in each process.

    Raises:
        ValueError: in all of them, if a worker has others.
    """
    if not is_multi_worker(strategy):
        return
    digests = [hashlib.blake2b(repr(f).encode(), digest_size=7).digest() for f in facts]
    own = tf.constant([[int.from_bytes(digest, "big") for digest in digests]], tf.int64)

    @tf.function
    def gather():
        return strategy.run(
            lambda: tf.distribute.get_replica_context().all_gather(own, axis=0)
        )

    found = strategy.experimental_local_results(gather())[0].numpy()
    if (found != found[0]).any():
        raise ValueError(
            "workers must have the same options, data and checkpoints: run_dir and "
            "data must lie where all see them, the program must be the same. "
            f"Received: {len(set(map(tuple, found)))} different states of a run"
        )


@contextlib.contextmanager
def told_of_lost_workers(strategy, run_dir):
    """Makes the loss of another worker an error of one line.

    Raises:
        ConnectionError: in that case.
    """
    try:
        yield
    except LOST as error:
        if not is_multi_worker(strategy):
            raise
        # Around it TensorFlow lists the lines of the program.
        lines = str(error).strip().split("\n")
        reason = next((line for line in lines if "ollective" in line), lines[0])
        raise ConnectionError(
            "another worker was lost, so this one stops. Start all of them again: "
            f"they go on from the last checkpoint in {run_dir} ({reason.strip()[:160]})"
        ) from error
