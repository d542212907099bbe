"""The counted work and the peaks that `gpu_step` prints."""

import pytest

torch = pytest.importorskip("torch")

from benchmarks import accelerator  # noqa: E402


@pytest.mark.parametrize(
    "gpu, dtype, peak",
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "bfloat16", 756),
        ("NVIDIA A100-SXM4-40GB", "float32", 156),
        ("NVIDIA L40S", "bfloat16", 362),
        ("NVIDIA L4", "bfloat16", 121),
    ],
)
def test_peaks_are_those_of_the_data_sheets(gpu, dtype, peak):
    place = accelerator.Place("jax", gpu)
    assert accelerator.find_peak(place, dtype)[0] == peak


def test_a_given_peak_wins():
    place = accelerator.Place("jax", "NVIDIA L4")
    assert accelerator.find_peak(place, "bfloat16", 100.0) == (100.0, "given")


def test_an_unknown_device_is_measured(monkeypatch):
    monkeypatch.setattr(accelerator, "measure_product", lambda *arguments: 0.25)
    peak, source = accelerator.find_peak(accelerator.Place("jax", None), "float32")
    assert peak == 0.25
    assert "product" in source


def test_flop_of_a_layer_forward_and_back():
    layer = torch.nn.Linear(3, 5)
    x = torch.ones(7, 3)
    # Two for each of 7 x 3 x 5; the gradient of the kernel as many, none of `x`.
    assert accelerator.count_flop(lambda: layer(x)) == 2 * 7 * 3 * 5
    flop = accelerator.count_flop(lambda: layer(x).sum().backward())
    assert flop == 2 * 2 * 7 * 3 * 5


def test_attention_is_counted():
    x = torch.ones(1, 2, 7, 3)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert accelerator.count_flop(lambda: attend(x, x, x)) == 2 * 2 * (2 * 7 * 7 * 3)


@pytest.mark.parametrize("sees", [("torch", "tensorflow"), ()])
def test_the_first_backend_that_sees_a_gpu_is_taken(monkeypatch, sees):
    for name in ("XLA_PYTHON_CLIENT_PREALLOCATE", "TF_FORCE_GPU_ALLOW_GROWTH"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setattr(accelerator.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(accelerator, "_sees_gpu", lambda name: name in sees)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(sees))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
    expected = ("torch", "NVIDIA L4") if sees else ("jax", None)
    assert accelerator.choose() == expected


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="KERAS_BACKEND must be one of .* openvino"):
        accelerator.choose("openvino")
