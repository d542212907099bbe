"""What the tests of faults share: runs in processes of their own, compared."""

import csv

import h5py
import numpy as np
import pytest

from tests.conftest import SMALL_TRANSFORMER
from tests.faults.nursery import Nursery
from tf_prompt.runs import checkpoints
from tf_prompt.runs.run import Run


@pytest.fixture(scope="session")
def nursery():
    with Nursery() as started:
        yield started


@pytest.fixture(scope="session")
def argv_for(tiny_shards):
    """Gives the arguments of a small run in a folder."""

    def make(run_dir, *flags):
        settings = [f"--set={setting}" for setting in SMALL_TRANSFORMER]
        return [
            *("--data", str(tiny_shards), "--run-dir", str(run_dir)),
            *("--epochs", "2", "--batch-size", "8", "--warmup-steps", "5"),
            *("--max-words", "5", *settings, *flags),
        ]

    return make


@pytest.fixture(scope="session")
def undisturbed(nursery, argv_for, tmp_path_factory):
    """A whole run, without a checkpoint inside an epoch."""
    folder = tmp_path_factory.mktemp("undisturbed")
    argv = argv_for(folder / "run", "--save-every", "0")
    code, stderr = nursery.run(argv, folder / "stderr")
    assert code == 0, stderr
    return folder / "run"


def last_weights(run_dir) -> dict[str, np.ndarray]:
    """All numbers of the last checkpoint: weights, moments, steps."""
    arrays = {}

    def read(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    last = checkpoints.list_checkpoints(run_dir)[-1]
    with h5py.File(last / "state.weights.h5") as file:
        file.visititems(read)
    assert len(arrays) > 10
    return arrays


def read_history(run_dir) -> list[dict]:
    """The rows of history.csv; no two runs take the same time."""
    with open(run_dir / "history.csv", newline="") as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]


def assert_same_run(run_dir, other) -> None:
    """Both ended with the same weights, bit for bit, and the same history."""
    assert read_history(run_dir) == read_history(other)
    ours, theirs = last_weights(run_dir), last_weights(other)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    ours, theirs = _best_weights(run_dir), _best_weights(other)
    assert len(ours) == len(theirs)
    for values, other_values in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(values, other_values)


def _best_weights(run_dir) -> list[np.ndarray]:
    # Not the file's bytes: Keras numbers layers anew in each process.
    return Run(run_dir).model.get_weights()
