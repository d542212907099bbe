"""The lines that `gpu_step` prints beside the ratios."""

import pytest

pytest.importorskip("torch")

from benchmarks import gpu_step  # noqa: E402


def test_share_of_peak_is_work_times_rate(capsys):
    found = {"benchmark": "decode", "ours_per_second": 10.0, "rival_per_second": 5.0}
    work = gpu_step.describe_work(found, flop=2 * 10**12, peak=100.0)
    assert work["share_of_peak"] == {"ours": 0.2, "rival": 0.1}
    line = capsys.readouterr().out
    assert line.startswith("decode: 2000 GFLOP a step; ours 100.00 ms, 20.0% of peak")


def test_an_unknown_backend_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    with pytest.raises(SystemExit, match="2"):
        gpu_step.main([])
    assert "KERAS_BACKEND must be one of" in capsys.readouterr().err
