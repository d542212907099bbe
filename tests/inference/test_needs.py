"""What serving a run needs, counted without its weights."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf

from tests import language_families as families
from tests.checks import exit_code
from tf_prompt import predict
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import memory
from tf_prompt.models import language_bases, presets
from tf_prompt.runs.config import FitConfig


def sizes_of(name, batch_size, copies=1, **options):
    with tf.Graph().as_default():
        network = presets.build(name, max_tokens=5, vocab_size=100, **options)
        return memory.measure(network, batch_size, DecodingConfig(num_beams=copies))


@pytest.mark.parametrize("batch_size, copies", [(1, 1), (3, 2)])
def test_cache_by_hand(batch_size, copies):
    options = families.overrides("paligemma_tiny")
    sizes = sizes_of("paligemma_tiny", batch_size, copies, **options)
    # 16 pixels are 2 x 2 patches of 8; one token of prefix, five of a prompt; keys and
    # values of 16 numbers of 4 bytes, one head, one layer.
    assert sizes.state == batch_size * copies * (4 + 1 + 5) * 2 * 16 * 4
    assert sizes.weights == 4 * sizes.parameters


@pytest.mark.parametrize("name", families.NAMES)
def test_counts_what_is_built(name):
    model = presets.build(
        name, max_tokens=5, vocab_size=100, **families.overrides(name)
    )
    sizes = sizes_of(name, 2, **families.overrides(name))
    # As `fit --dry-run` asks, of a model whose weights are there.
    assert memory.measure(model, 2, DecodingConfig()) == sizes
    assert sizes.parameters == sum(math.prod(w.shape) for w in model.weights)
    state, _ = model.encode(tf.zeros((2, families.SIZE, families.SIZE, 3), tf.uint8))
    flat = tf.nest.flatten(state)
    assert sizes.state == sum(tf.size(x).numpy() * x.dtype.size for x in flat)
    assert sizes.batch > sizes.state


def test_peak_by_hand():
    with tf.Graph().as_default() as graph:
        a = tf.fill((100,), 1.0)
        b = tf.concat([a, a], 0)
        c = tf.reshape(b, (2, 100))
        d = tf.reduce_sum(c, axis=1)
        # `a` and `b`: 400 and 800 bytes; then `b` and little else.
        assert memory.peak_of(graph.get_operations(), [d]) == 1200
        assert memory.peak_of(graph.get_operations(), [a, d]) == 1208


@pytest.mark.slow
@pytest.mark.long
def test_a_base_of_billions_takes_no_memory():
    with tf.Graph().as_default():
        model = presets.build("blip2_opt_2_7b", max_tokens=5)
        sizes = memory.measure(model, 1, DecodingConfig())
    # KerasHub's number; matrices of low rank come on top.
    assert 1 < sizes.parameters / 3_744_761_856 < 1.02


def test_a_download_is_counted_once(tmp_path):
    assert language_bases.count_download(str(tmp_path), "paligemma2_3b") == 0
    size = language_bases.count_download("hf://nobody/nothing", "paligemma2_3b")
    assert size == 2 * 3_032_094_960


def test_no_network_is_said_shortly(monkeypatch, tmp_path):
    family = presets.PRESETS["paligemma2_3b"][0]

    def fail(name):
        raise OSError("HTTPSConnectionPool(host='api.kaggle.com', port=443): Max " * 9)

    monkeypatch.setattr(family.tokenizer_class(), "from_preset", fail)
    with pytest.raises(ValueError) as raised:
        language_bases.save_tokenizer("pali_gemma2_mix_3b_224", family, tmp_path)
    assert str(raised.value).endswith("(no connection to api.kaggle.com)")


def test_a_folder_that_moved_is_said_shortly(tmp_path):
    family = presets.PRESETS["paligemma2_3b"][0]
    with pytest.raises(ValueError, match=r"gone \(no such folder, nor a preset"):
        language_bases.save_tokenizer(str(tmp_path / "gone"), family, tmp_path)


@pytest.mark.slow
def test_a_base_not_yet_downloaded(tmp_path, capsys):
    known = {"sha256": "0" * 64, "parameters": 3_032_094_960}
    base = {**known, "prefix_ids": [2, 7], "end_id": 1}
    model = presets.build("paligemma2_3b", vocab_size=257156, base=base)
    model.set_weights([np.zeros(1)])
    model.save(tmp_path / "best.keras")
    config = dataclasses.asdict(FitConfig(preset="paligemma2_3b"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert predict.main(["--dry-run", "--run-dir", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "pali_gemma2_mix_3b_224, 5,783 MB to download" in table
    # Float32: twice as much.
    assert memory_in(table) > 11_566


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--dry-run", "--server", "localhost:1"], "dry_run needs --run-dir"),
        (["--run-dir", "nowhere"], "PATH must be given"),
        (["--dry-run", "--run-dir", "nowhere"], "nowhere"),
        (["--dry-run", "--saved-model", "nowhere"], "nowhere"),
    ],
)
def test_wrong_use_is_one_line(argv, message, capsys):
    assert exit_code(predict.main, argv) == 2
    (line,) = capsys.readouterr().err.strip().split("\n")
    assert message in line


@pytest.mark.parametrize("name", ["transformer_tiny", "vit_regressor_tiny"])
def test_every_kind_of_run(name, tmp_path, capsys):
    sizes = {"vocab_size": 50, "num_encoder_layers": 0, "num_decoder_layers": 1}
    options = sizes if name == "transformer_tiny" else {}
    model = presets.build(name, **options)
    config = FitConfig(preset=name)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    model.save(tmp_path / "best.keras")
    argv = ["--dry-run", "--run-dir", str(tmp_path), "--batch-size"]
    assert predict.main([*argv, "1"]) == 0
    one = capsys.readouterr().out
    assert predict.main([*argv, "64"]) == 0
    many = capsys.readouterr().out
    assert f"{model.count_params():,}" in one and f"{model.count_params():,}" in many
    assert memory_in(many) > memory_in(one) + 10


def memory_in(table):
    return int(re.search(r"GPU memory +([\d,]+) MB", table)[1].replace(",", ""))
