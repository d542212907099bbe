"""Disks that are full or read-only, and folders that are in use."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.faults.conftest import assert_same_run
from tests.faults.test_corruption import names, new_model, save
from tf_prompt.runs import checkpoints, lock
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import callbacks


def mount(folder, options):
    """Mounts a file system in memory; skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command).returncode:
        pytest.skip("needs the right to mount a file system")


@pytest.fixture
def small_disk(tmp_path):
    mount(tmp_path / "disk", "size=1m")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_full_disk_is_one_line_and_the_last_checkpoint_whole(small_disk):
    run_dir = small_disk / "run"
    model = new_model()
    save(model, run_dir, 1)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "film").write_bytes(b"0" * (free - 8192))
    saver = callbacks.SaveRun(run_dir, {"history": [{}]}, 9, 0, {})
    saver.set_model(model)
    saver._start = 0
    with pytest.raises(ValueError, match="must have room and be writable") as error:
        saver.save_step(5)
    assert "\n" not in str(error.value)
    assert names(run_dir) == ["epoch-00001"]
    assert checkpoints.find_fault(run_dir / "checkpoints" / "epoch-00001") is None
    (small_disk / "film").unlink()
    saver.save_step(5)
    assert len(names(run_dir)) == 2


@pytest.mark.slow
def test_run_on_a_full_disk_goes_on_once_there_is_room(
    nursery, argv_for, undisturbed, small_disk, tmp_path
):
    mount(small_disk, "remount,size=20m")
    argv = argv_for(small_disk / "run")
    film = small_disk / "film"
    # Room for the first epochs, not for all that the run keeps.
    used = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    film.write_bytes(b"0" * (shutil.disk_usage(small_disk).free - used))
    code, stderr = nursery.run(argv, tmp_path / "stderr")
    assert code == 2, stderr
    last = stderr.replace("\r", "\n").strip().split("\n")[-1]
    assert last.startswith("fit: error: run_dir must have room"), stderr
    assert "Traceback" not in stderr
    film.unlink()
    code, stderr = nursery.run(argv, tmp_path / "stderr")
    assert code == 0, stderr
    assert_same_run(small_disk / "run", undisturbed)


def test_read_only_folder_is_one_line(tmp_path):
    mount(tmp_path / "disk", "ro,size=1m")
    try:
        with pytest.raises(ValueError, match=r"run_dir must be a writable folder"):
            with run_folder.claim(tmp_path / "disk" / "run"):
                pass
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_folder_in_use_names_who_uses_it(tmp_path):
    code = (
        "import sys, time; from tf_prompt.runs import lock\n"
        "with lock.hold(sys.argv[1]):\n    print('held', flush=True)\n"
        "    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {other.pid} on .* trains; wait"):
            with run_folder.claim(tmp_path):
                pass
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    # The file of a dead process is no obstacle.
    assert (tmp_path / lock.LOCK).exists()
    with run_folder.claim(tmp_path):
        assert (tmp_path / lock.LOCK).exists()
    assert not (tmp_path / lock.LOCK).exists()


def test_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(RuntimeError):
        with lock.hold(tmp_path / "run"):
            raise RuntimeError
    with lock.hold(tmp_path / "run"):
        pass


def test_half_files_of_a_killed_run_are_no_obstacle(tmp_path):
    for name in ("config.json.77.part", "learning_rate.77.part.png"):
        (tmp_path / name).touch()
    with run_folder.claim(tmp_path):
        run_folder.open_run(tmp_path, FitConfig())
    assert [path.name for path in tmp_path.iterdir()] == [run_folder.CONFIG]
