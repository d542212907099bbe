"""Distribution strategies: the devices that train, on one machine or several."""

import collections
import contextlib
import hashlib
import os
import pathlib
import tempfile

import tensorflow as tf

from tf_prompt.data import records, sharding
from tf_prompt.runs import workers
from tf_prompt.runs.machine import devices
from tf_prompt.training import private_names

# More than a strategy uses: a few for each set of devices.
_KEYS_A_STRATEGY = 1000
# Errors that the loss of a worker causes in the others.
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
    """Builds a distribution strategy.

    Args:
        devices: names such as `["CPU:0", "CPU:1"]`; None takes those that exist.
        name: `mirrored`: all GPUs of this machine, or its CPU; `one_device`: its
            first GPU, or its CPU; `multi_worker`: all machines of `TF_CONFIG`;
            `auto`: `multi_worker` if `TF_CONFIG` names several, else `mirrored`.
        timeout: seconds to wait for other workers, at the start and in each step.

    Raises:
        ValueError: if `TF_CONFIG` is malformed, or missing for `multi_worker`.
        ConnectionError: if a worker cannot be reached.
    """
    if name == "one_device":
        gpus = tf.config.list_logical_devices("GPU")
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")
    found = find_workers(name) if devices is None else None
    if found is None:
        return _build_mirrored(devices)
    workers.meet(found, timeout)
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _build_mirrored(devices):
    """A mirrored strategy whose sums over devices have keys of their own.

    TensorFlow gives those of every strategy the same keys. With more than one device,
    a second training in a process then sometimes fails with "Shape mismatch in the
    collective instance": https://github.com/tensorflow/tensorflow/issues/62790.
    """
    kind = tf.distribute.MirroredStrategy
    private_names.require("tensorflow", kind, "_collective_key_base")
    kind._collective_key_base += _KEYS_A_STRATEGY
    return kind(devices)


def describe_devices(config, half: str = "float16") -> list[str]:
    """Returns a line on the devices that will train, and the precision.

    It does not initialise the devices, so workers can still be joined afterwards.

    Args:
        config: the run's options.
        half: name of the type in which mixed precision computes.

    Returns:
        One line, and a second one if TensorFlow does not see an existing GPU.

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
    precision = "float32"
    if config.mixed_precision:
        precision = f"{half}, with float32 weights"
    lines = [f"training on {where}, in {precision}"]
    if not gpus and (unseen := devices.list_nvidia_gpus()):
        lines.append(f"warning: {devices.explain_unseen(unseen)}")
    return lines


def find_workers(name: str) -> workers.Workers | None:
    """Finds the workers of a strategy; None for a single process.

    Args:
        name: as in `build_strategy`.

    Raises:
        ValueError: as in `build_strategy`.
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
    """Whether the strategy has several processes."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


@contextlib.contextmanager
def writing_folder(strategy: tf.distribute.Strategy, run_dir: pathlib.Path):
    """Context manager with the folder to write into: the run's folder for the chief.

    Other workers write the same files into a temporary folder.

    Args:
        strategy: from `build_strategy`.
        run_dir: folder of the run.
    """
    if not is_multi_worker(strategy) or workers.read_tf_config().is_chief:
        yield run_dir
        return
    with tempfile.TemporaryDirectory(prefix="tf_prompt-worker-") as folder:
        yield pathlib.Path(folder) / "run"


def make_share(strategy, config, folder, steps_per_epoch) -> sharding.Share | None:
    """Determines which part of each batch this process reads.

    Args:
        strategy: from `build_strategy`.
        config: the run's options, completed by `recipes`.
        folder: folder of shards.
        steps_per_epoch: number of batches per epoch.

    Returns:
        `Share`, or None if the process reads whole batches.

    Raises:
        ValueError: if the batch size or the files cannot be divided.
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
    """Prepares batches for `model.fit` under a strategy.

    With several workers the batches are already divided: TensorFlow's own sharding
    would make each worker read whole batches.

    Args:
        strategy: from `build_strategy`.
        batches: the batches of this process.
    """
    if not is_multi_worker(strategy):
        return batches
    return strategy.distribute_datasets_from_function(lambda _: batches)


def require_agreement(strategy: tf.distribute.Strategy, *facts) -> None:
    """Checks that all workers have the same facts; does nothing for a single one.

    Args:
        strategy: from `build_strategy`.
        *facts: values that must be equal, compared by their `repr`.

    Raises:
        ValueError: in every worker, if one differs.
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
            "workers must have the same options, data and checkpoints: all must see "
            "the same run_dir and data, and run the same program. "
            f"Received: {len(set(map(tuple, found)))} different states of a run"
        )


@contextlib.contextmanager
def reporting_lost_workers(strategy, run_dir):
    """Context manager that reports the loss of another worker in one line.

    Args:
        strategy: from `build_strategy`.
        run_dir: folder of the run, for the message.

    Raises:
        ConnectionError: if a worker is lost.
    """
    try:
        yield
    except LOST as error:
        if not is_multi_worker(strategy):
            raise
        # TensorFlow surrounds that line with lines of the program.
        lines = str(error).strip().split("\n")
        reason = next((line for line in lines if "ollective" in line), lines[0])
        raise ConnectionError(
            "another worker was lost, so this one stops. Start all of them again: "
            f"they resume from the last checkpoint in {run_dir} "
            f"({reason.strip()[:160]})"
        ) from error
