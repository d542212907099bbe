"""What a run needs, said before it begins."""

import pytest

from tests.training.test_loop import config_for
from tf_prompt.training import dry_run
from tf_prompt.training.strategy import build_strategy


def test_table_by_hand(tmp_path):
    needs = dry_run.Needs(
        parameters=1_234_567,
        model_bytes=3 * 2**20,
        peak_bytes=900 * 2**20,
        gpu_bytes=None,
        step_seconds=0.25,
        epoch_seconds=120.0,
        epochs=3,
        steps_per_epoch=400,
        disk_bytes=20 * 2**20,
        free_bytes=10 * 2**20,
    )
    lines = dry_run.format_needs(needs, tmp_path).split("\n")
    assert lines[0].split() == ["parameters", "1,234,567"]
    assert "run                   6 min, 3 epochs" in lines
    assert "epoch                 120 s, 400 steps" in lines
    assert lines[-1] == "the disk is too small for this run"
    assert not any(line.startswith("GPU") for line in lines)


@pytest.mark.slow
def test_dry_run_writes_no_run(tiny_shards, tmp_path):
    config = config_for(tiny_shards, epochs=5)
    text = dry_run.rehearse(config, tmp_path / "run", build_strategy(["CPU:0"]))
    assert not (tmp_path / "run").exists()
    assert "12 steps" in text and "5 epochs" in text
    with pytest.raises(ValueError, match="must give more than 3 steps per epoch"):
        dry_run.rehearse(config_for(tiny_shards, batch_size=32), tmp_path / "run")
