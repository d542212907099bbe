"""Runs over a language model that sees: trained, resumed, asked, exported."""

import json
import pathlib
import re
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests import language_families as families
from tests.checks import exit_code
from tf_prompt import evaluate, export, fit, predict
from tf_prompt.inference import language
from tf_prompt.inference.loading import Loader
from tf_prompt.runs import checkpoints
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SavedPromptWriter
from tf_prompt.training import fitting, loop, recipes, strategy

BASE = {"arguments": families.ARGUMENTS["paligemma_tiny"]}


def config_of(shards, **options):
    given = {
        **{"preset": "paligemma_tiny", "data": str(shards), "epochs": 2},
        **{"batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 2},
        **{"max_subwords": 12, "save_every": 0.0},
    }
    return FitConfig(**{**given, **options})


def train(config, run_dir):
    return loop.train(config, run_dir, strategy.build_strategy(["CPU:0"]))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return families.write_paligemma(tmp_path_factory.mktemp("base") / "preset")


@pytest.fixture(scope="module")
def adapted(tiny_shards, base, tmp_path_factory):
    """A run of two epochs over a pretrained base, LoRA weights only."""
    run_dir = tmp_path_factory.mktemp("adapted") / "run"
    config = config_of(tiny_shards, backbone_weights=base, lora_rank=2)
    train(config, run_dir)
    return run_dir


@pytest.fixture(scope="module")
def encoded(tiny_shards):
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    return [tf.io.encode_png(image).numpy() for image in noise]


def test_a_run_holds_only_what_it_trained(adapted):
    run = Run(adapted)
    model = run.model
    names = {w.name for w in model.kept_weights}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    trained = sum(np.prod(w.shape) for w in model.kept_weights)
    assert trained < model.count_params() / 10
    (checkpoint, _) = checkpoints.list_checkpoints(adapted)
    with h5py.File(checkpoint / "state.weights.h5") as file:
        sizes = []
        file.visititems(
            lambda name, item: (
                sizes.append(item.size) if isinstance(item, h5py.Dataset) else None
            )
        )
    # Beside them their two moments, and a few counters.
    assert 3 * trained <= sum(sizes) <= 3 * trained + 20
    assert (adapted / "best.keras").stat().st_size < 100_000
    # Some of them have moved from where they begin.
    assert any(np.any(w) for w in model.kept_weights if w.name == "lora_kernel_b")


@pytest.mark.slow
def test_a_resumed_run_is_bit_for_bit_the_same(adapted, tiny_shards, base, tmp_path):
    options = {"backbone_weights": base, "lora_rank": 2}
    train(config_of(tiny_shards, epochs=2, **options), tmp_path / "run")
    # As if it had been killed within its second epoch.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "epoch-00002")
    train(config_of(tiny_shards, epochs=2, **options), tmp_path / "run")
    for ours, theirs in zip(
        Run(tmp_path / "run").model.get_weights(),
        Run(adapted).model.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_another_base_is_refused(adapted, tmp_path):
    other = families.write_paligemma(tmp_path / "other", seed=1)
    run = tmp_path / "run"
    shutil.copytree(adapted, run)
    content = json.loads((run / "config.json").read_text())
    content["backbone_weights"] = other
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have the SHA-256 [0-9a-f]{12}…"):
        Run(run).model  # noqa: B018


@pytest.mark.slow
def test_zero_shot_is_the_base_itself(tiny_shards, base, tmp_path, encoded):
    run_dir = tmp_path / "run"
    options = {"backbone_weights": base, "zero_shot": True, "epochs": None}
    train(config_of(tiny_shards, **options), run_dir)
    assert Run(run_dir).model.kept_weights == []
    found = Loader().load_run(Run(run_dir), embeds=False)
    expected = language.load_pretrained("paligemma_tiny", base)
    pixels = found.open(encoded)
    # A run's prompts are as long as its option says.
    prompt, long = found(encoded)["prompt"], expected(encoded)["prompt"]
    for ours, theirs in zip(prompt, long, strict=True):
        assert theirs.startswith(ours[:4])
    np.testing.assert_array_equal(found.features(pixels), expected.features(pixels))


@pytest.mark.slow
def test_export_is_one_graph_without_xla_and_text_operations(
    adapted, tmp_path, encoded, capsys
):
    argv = ["--run-dir", str(adapted), "--output", str(tmp_path), "--no-embed"]
    assert export.main(argv) == 0
    path = capsys.readouterr().out.strip()
    content = saved_model_pb2.SavedModel.FromString(
        pathlib.Path(path, "saved_model.pb").read_bytes()
    )
    library = content.meta_graphs[0].graph_def.library.function
    names = {node.op for function in library for node in function.node_def}
    assert "While" in names or "StatelessWhile" in names
    assert not [n for n in names if re.search("Xla|Sentencepiece|PyFunc", n)]
    saved = SavedPromptWriter(path)
    model = Loader().load_run(Run(adapted), embeds=False)
    ours, theirs = model(encoded), saved(encoded)
    np.testing.assert_array_equal(theirs["prompt"], ours["prompt"])
    np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-5)
    # A batch gives what single images give.
    single = [model([one])["prompt"][0] for one in encoded]
    np.testing.assert_array_equal(ours["prompt"], single)


@pytest.mark.slow
def test_weights_in_8_bits_stay_near(adapted, encoded, capsys):
    whole = Loader().load_run(Run(adapted), embeds=False)
    small = Loader().load_run(Run(adapted), embeds=False)
    before = sum(np.prod(w.shape) * 4 for w in small.network.weights)
    small.quantize()
    pattern = r"change by ([\d.]+)% of .* (\d+)% of the next"
    said = re.search(pattern, capsys.readouterr().err)
    assert 0 < float(said[1]) < 10 and float(said[2]) > 50
    weights = small.network.task().weights
    after = sum(np.prod(w.shape) * np.dtype(w.dtype).itemsize for w in weights)
    assert after < before / 2
    images, token_ids = small.open(encoded)[families.SIZE], tf.constant([[2, 9]] * 3)
    inputs = {"images": images, "token_ids": token_ids}
    expected, found = whole.network(inputs), small.network(inputs)
    error = np.abs(found[..., 3:] - expected[..., 3:]).mean()
    assert error < 0.05 * np.abs(expected[..., 3:]).mean()


@pytest.mark.slow
def test_out_of_memory_divides_the_batch(
    tiny_shards, base, tmp_path, monkeypatch, capsys
):
    began, fit_epochs = [], fitting.fit_epochs

    def run(task, *rest):
        began.append(task.config.accumulate_steps)
        if len(began) < 3:
            raise tf.errors.ResourceExhaustedError(None, None, "no room")
        return fit_epochs(task, *rest)

    monkeypatch.setattr(fitting, "fit_epochs", run)
    options = {"backbone_weights": base, "lora_rank": 2, "epochs": 1}
    train(config_of(tiny_shards, **options), tmp_path / "run")
    assert began == [1, 2, 4]
    assert Run(tmp_path / "run").config.accumulate_steps == 4
    assert "each batch of 16 in 4 rounds" in capsys.readouterr().err
    assert Run(tmp_path / "run").config.batch_size == 16
    # The same as what 4 rounds from the beginning give.
    train(
        config_of(tiny_shards, accumulate_steps=4, **options), tmp_path / "from_start"
    )
    for ours, theirs in zip(
        Run(tmp_path / "run").model.get_weights(),
        Run(tmp_path / "from_start").model.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_the_commands_work_on_a_whole_run(tiny_shards, tmp_path, capsys):
    """From the start, without a pretrained base: the run holds everything."""
    run_dir, image = tmp_path / "run", tmp_path / "image.png"
    argv = ["--preset", "paligemma_tiny", "--data", str(tiny_shards)]
    argv += ["--run-dir", str(run_dir), "--epochs", "12", "--batch-size", "8"]
    argv += ["--learning-rate", "3e-3", "--warmup-steps", "5", "--max-subwords", "30"]
    argv += ["--set", f"base={BASE}", "--image-size", str(families.SIZE)]
    assert fit.main(argv) == 0
    argv = ["--run-dir", str(run_dir), "--metrics", "bleu", "--json"]
    capsys.readouterr()
    assert evaluate.main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["bleu"]["score"] > 60
    image.write_bytes(tf.io.encode_png(np.zeros((40, 40, 3), np.uint8)).numpy())
    assert predict.main(["--run-dir", str(run_dir), str(image)]) == 0
    assert "patch" in capsys.readouterr().out


@pytest.mark.slow
def test_gemma3_is_written_for_transformers(tiny_shards, tmp_path, encoded, capsys):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    source = families.write_gemma3(tmp_path / "preset")
    options = {"preset": "gemma3_tiny", "backbone_weights": source, "lora_rank": 2}
    train(config_of(tiny_shards, epochs=1, **options), tmp_path / "run")
    model = Run(tmp_path / "run").model
    argv = ["--run-dir", str(tmp_path / "run"), "--output", str(tmp_path)]
    assert export.main([*argv, "--to", "transformers", "--name", "theirs"]) == 0
    folder = capsys.readouterr().out.strip()
    theirs = transformers.Gemma3ForConditionalGeneration.from_pretrained(folder)
    theirs.config.image_token_id = model.base["image_id"]
    images = Loader().load_run(Run(tmp_path / "run"), embeds=False).open(encoded)
    pixels = model.scale(images[families.SIZE])
    token_ids = np.asarray(model.join_prefix(np.int32([[2, 20, 30]] * 3)))
    is_image = token_ids == model.base["image_id"]
    with torch.no_grad():
        found = theirs(
            input_ids=torch.tensor(token_ids).long(),
            pixel_values=torch.tensor(np.asarray(pixels).transpose(0, 3, 1, 2)),
            token_type_ids=torch.tensor(is_image).long(),
        ).logits.numpy()
    expected = model.score(model.read(pixels, np.int32([[2, 20, 30]] * 3)))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert exit_code(export.main, [*argv, "--to", "transformers"]) == 2


def test_other_families_are_not_written_for_transformers(adapted, tmp_path, capsys):
    argv = ["--run-dir", str(adapted), "--output", str(tmp_path)]
    assert exit_code(export.main, [*argv, "--to", "transformers"]) == 2
    assert "Gemma 3 only" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"zero_shot": True, "epochs": None}, "zero_shot needs pretrained weights"),
        ({"tokens": "words", "max_subwords": 75}, "tokens must be subwords"),
        ({"epochs": 0}, "epochs must be positive"),
        (
            {"backbone_weights": "x", "image_size": 32},
            "image_size must be left out with a pretrained base",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(tiny_shards, options, message):
    with pytest.raises(ValueError, match=message):
        recipes.complete(config_of(tiny_shards, **options))
    with pytest.raises(ValueError, match="epochs must be left out with zero_shot"):
        FitConfig(zero_shot=True, epochs=1)


def test_a_missing_base_is_one_line(tiny_shards, tmp_path, capsys):
    argv = ["--preset", "paligemma_tiny", "--data", str(tiny_shards)]
    argv += ["--run-dir", str(tmp_path / "run"), "--backbone-weights", "nowhere_3b"]
    assert exit_code(fit.main, argv) == 2
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert "the base must be a preset of KerasHub within reach" in last
    assert "Received: nowhere_3b" in last
