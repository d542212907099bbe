"""`fit` killed, stopped and told to stop: it ends as if nothing had been."""

import os
import random
import signal
import time

import pytest

from tests.faults.conftest import assert_same_run
from tf_prompt.runs import checkpoints

# A checkpoint after about every step, so that many kills fall into writing one.
OFTEN = ("--save-every", "0.0001")


def wait_for_step(run_dir, deadline=120):
    """Waits until the run has a checkpoint within an epoch."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if any("step" in path.name for path in checkpoints.list_checkpoints(run_dir)):
            return
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint in {run_dir}")


def wait_for_words(path, words, deadline=120):
    """Waits until a file holds these words."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if path.exists() and words in path.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {words} in {path}")


def kill_at_random(nursery, argv, folder, draw):
    """Starts the run and kills it a random time after its first saved step."""
    pid = nursery.start(argv, folder / "stderr")
    wait_for_step(folder / "run")
    time.sleep(draw.uniform(0, 0.8))
    os.kill(pid, signal.SIGKILL)
    return nursery.wait()[0]


def last_line(stderr):
    return stderr.replace("\r", "\n").strip().split("\n")[-1]


@pytest.mark.slow
def test_run_that_is_killed_then_terminated_ends_with_the_same_weights(
    nursery, argv_for, undisturbed, tmp_path
):
    run_dir = tmp_path / "run"
    argv = argv_for(run_dir, *OFTEN)
    code = kill_at_random(nursery, argv, tmp_path, random.Random(0))
    assert code == -signal.SIGKILL
    pid = nursery.start(argv, tmp_path / "stderr")
    wait_for_words(tmp_path / "stderr", "step/s")
    os.kill(pid, signal.SIGTERM)
    code, stderr = nursery.wait()
    assert code == 143, stderr
    assert last_line(stderr).startswith("fit: SIGTERM: saved in epoch "), stderr
    assert "resuming after epoch" in stderr
    assert not (run_dir / "fit.lock").exists()
    code, stderr = nursery.run(argv, tmp_path / "stderr")
    assert code == 0, stderr
    assert_same_run(run_dir, undisturbed)
    assert not list(run_dir.rglob("*.part*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))]
)
def test_run_killed_again_and_again(nursery, argv_for, undisturbed, tmp_path, seed):
    draw = random.Random(seed)
    argv = argv_for(tmp_path / "run", *OFTEN)
    kills = 0
    for _ in range(4):
        kills += kill_at_random(nursery, argv, tmp_path, draw) == -signal.SIGKILL
    assert kills
    code, stderr = nursery.run(argv, tmp_path / "stderr")
    assert code == 0, stderr
    assert_same_run(tmp_path / "run", undisturbed)
    assert not list((tmp_path / "run").rglob("*.part*"))


@pytest.mark.slow
def test_interrupt_key_saves_the_step(nursery, argv_for, undisturbed, tmp_path):
    argv = argv_for(tmp_path / "run", "--save-every", "0")
    pid = nursery.start(argv, tmp_path / "stderr")
    wait_for_words(tmp_path / "stderr", "step/s")
    os.kill(pid, signal.SIGINT)
    code, stderr = nursery.wait()
    assert code == 130
    assert last_line(stderr).startswith("fit: SIGINT: saved in epoch "), stderr
    code, stderr = nursery.run(argv, tmp_path / "stderr")
    assert code == 0, stderr
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_time_budget_saves_and_says_so(nursery, argv_for, undisturbed, tmp_path):
    argv = argv_for(tmp_path / "run", "--save-every", "0")
    for step in (1, 2):
        # Over before the first step, which is taken nevertheless: runs move on.
        code, stderr = nursery.run([*argv, "--time-budget", "1e-6"], tmp_path / "err")
        assert code == 0
        said = f"fit: the time budget ended: saved in epoch 1, step {step} of "
        assert last_line(stderr).startswith(said)
    code, stderr = nursery.run([*argv, "--time-budget", "60"], tmp_path / "err")
    assert code == 0 and "resuming after epoch 0, step 2 of the next" in stderr
    assert_same_run(tmp_path / "run", undisturbed)
