"""Checkpoints that are damaged, and checkpoints that cannot be written."""

import errno

import keras
import numpy as np
import pytest

from tf_prompt.files import read_json
from tf_prompt.runs import checkpoints
from tf_prompt.training import callbacks


def new_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def save(model, run_dir, epoch, step=0):
    """A checkpoint in which every weight is the number of the epoch."""
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, epoch + step / 100))
    state = {"history": [{"epoch": n + 1} for n in range(epoch)]}
    if step:
        state["step"] = step
    checkpoints.save_checkpoint(model, run_dir, state)


def names(run_dir):
    return [path.name for path in checkpoints.list_checkpoints(run_dir)]


@pytest.fixture
def run_dir(tmp_path):
    model = new_model()
    save(model, tmp_path, 1)
    save(model, tmp_path, 2)
    return tmp_path


def truncate(path):
    weights = path / "state.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-100])


def flip_a_bit(path):
    content = bytearray((path / "state.weights.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "state.weights.h5").write_bytes(content)


def remove_state(path):
    (path / "state.json").unlink()


def empty_manifest(path):
    (path / "checksums.json").write_text("")


def remove_all(path):
    for file in path.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    "damage, fault",
    [
        (truncate, "state.weights.h5 has "),
        (flip_a_bit, "state.weights.h5 has another checksum"),
        (remove_state, "state.json is missing"),
        (empty_manifest, "checksums.json cannot be read"),
        (remove_all, "checksums.json is missing"),
    ],
)
def test_damaged_checkpoint_is_named_and_the_one_before_taken(
    run_dir, capsys, damage, fault
):
    damage(run_dir / "checkpoints" / "epoch-00002")
    model = new_model()
    state = checkpoints.load_checkpoint(model, run_dir)
    assert state["history"] == [{"epoch": 1}]
    assert np.all(model.get_weights()[0] == 1)
    error = capsys.readouterr().err
    assert f"epoch-00002 is damaged ({fault}" in error and error.count("\n") == 1
    # The next save must keep what was whole, not what was damaged.
    save(model, run_dir, 1, step=7)
    assert names(run_dir) == ["epoch-00001", "epoch-00001-step-00000007"]
    assert not list(run_dir.rglob("*.damaged"))


def test_all_checkpoints_damaged_is_an_error(run_dir):
    for path in checkpoints.list_checkpoints(run_dir):
        truncate(path)
    with pytest.raises(ValueError, match="must hold an intact one. Received: 2"):
        checkpoints.load_checkpoint(new_model(), run_dir)
    # Nothing is thrown away.
    assert names(run_dir) == ["epoch-00001", "epoch-00002"]


def test_steps_come_between_epochs_and_two_are_kept(run_dir):
    model = new_model()
    save(model, run_dir, 2, step=50)
    assert names(run_dir) == ["epoch-00002", "epoch-00002-step-00000050"]
    save(model, run_dir, 3)
    assert names(run_dir) == ["epoch-00002-step-00000050", "epoch-00003"]
    assert len(checkpoints.load_checkpoint(new_model(), run_dir)["history"]) == 3


def test_checkpoint_of_an_older_version_is_taken(run_dir):
    """They had no checksums."""
    for path in checkpoints.list_checkpoints(run_dir):
        (path / "checksums.json").unlink()
    assert len(checkpoints.load_checkpoint(new_model(), run_dir)["history"]) == 2


def test_weight_that_is_not_finite_is_not_saved(run_dir):
    model = new_model()
    model.trainable_variables[1].assign([0, np.nan, 0])
    with pytest.raises(ValueError, match="weights must stay finite. Received: a non-f"):
        checkpoints.save_checkpoint(model, run_dir, {"history": [{}] * 3})
    assert names(run_dir) == ["epoch-00001", "epoch-00002"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), None])
def test_failed_save_leaves_the_last_good_checkpoints(run_dir, monkeypatch, error):
    """The disk is full, or what was written cannot be read again."""
    model = new_model()

    def fail(path):
        path.write_bytes(b"half")
        if error:
            raise error

    monkeypatch.setattr(model, "save_weights", fail)
    saver = callbacks.SaveRun(run_dir, {"history": [{}] * 2}, 9, 0, {})
    saver.set_model(model)
    saver._start = 0
    with pytest.raises(ValueError, match="epoch-00002, is intact: the same command"):
        saver.save_step(5)
    assert names(run_dir) == ["epoch-00001", "epoch-00002"]
    assert not list(run_dir.rglob("*.part"))
    for path in checkpoints.list_checkpoints(run_dir):
        assert checkpoints.find_fault(path) is None
    assert set(read_json(path / "checksums.json")) == {
        "state.weights.h5",
        "state.json",
    }
