"""The Python face: one image or many, of any kind, from a run or an export."""

import io
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import tf_prompt
from tests.conftest import SMALL_TRANSFORMER, draw_record
from tf_prompt import api
from tf_prompt.metrics import prompt_embedder
from tf_prompt.runs.config import FitConfig
from tf_prompt.serving.client.options import DEFAULT_MODEL

RED = draw_record("red", "left", 0).image
GREEN = draw_record("green", "top", 0).image
PROMPTS = ["a red patch left", "a green patch top"]


@pytest.fixture(scope="module")
def model(tiny_run):
    return tf_prompt.load(tiny_run)


def open_pil(data):
    return PIL.Image.open(io.BytesIO(data))


def test_any_kind_of_image_will_do(model, tmp_path):
    (tmp_path / "red.jpg").write_bytes(RED)
    array = np.asarray(open_pil(GREEN))
    images = [
        tmp_path / "red.jpg",
        GREEN,
        open_pil(RED),
        array,
        str(tmp_path / "red.jpg"),
    ]
    found = model.predict(images)
    assert [prompt.text for prompt in found] == [
        PROMPTS[0],
        PROMPTS[1],
        PROMPTS[0],
        PROMPTS[1],
        PROMPTS[0],
    ]
    for one in (RED, open_pil(RED), tmp_path / "red.jpg", np.asarray(open_pil(RED))):
        (prompt,) = model.predict(one)
        assert prompt.text == PROMPTS[0] and prompt.score <= 0
    batch = np.stack([np.asarray(open_pil(data)) for data in (RED, GREEN)])
    assert [prompt.text for prompt in model.predict(batch)] == PROMPTS


def test_embeddings_are_those_of_the_prompts(model, minilm):
    found = model.embed([RED, GREEN])
    assert found.dtype == np.float32
    expected = prompt_embedder.embed(PROMPTS, minilm)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_attention_has_a_row_a_word(model):
    words, weights = model.attend(RED)
    assert words == PROMPTS[0].split() and weights.shape == (4, 16)
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(4), atol=1e-5)


def test_beams_are_an_option(tiny_run):
    found = tf_prompt.load(tiny_run, num_beams=2).predict([RED])
    assert found[0].text == PROMPTS[0]
    with pytest.raises(ValueError, match="must be one of num_beams.*Received: beams"):
        tf_prompt.load(tiny_run, beams=2)


@pytest.mark.parametrize(
    "images, message",
    [
        ([], "images must hold at least one. Received: none"),
        ([RED, b"no image"], r"Received something else at images\[1\]"),
        ([np.zeros((4, 4, 3))], r"images\[0\] must be a path.*float64 \(4, 4, 3\)"),
        ([7], r"images\[0\] must be a path.*Received: int"),
    ],
)
def test_what_is_no_image_is_named(model, images, message):
    with pytest.raises(ValueError, match=message):
        model.predict(images)
    with pytest.raises(FileNotFoundError, match="absent.png"):
        model.predict(["absent.png"])


def test_an_export_does_what_it_has_signatures_for(tiny_export, model):
    saved = tf_prompt.load(tiny_export)
    assert [prompt.text for prompt in saved.predict([RED, GREEN])] == PROMPTS
    for found, expected in zip(saved.attend(GREEN), model.attend(GREEN), strict=True):
        if isinstance(found, list):
            assert found == expected
        else:
            np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(
        ValueError, match="needs a run, or an export with the signature embed"
    ):
        saved.embed(RED)
    with pytest.raises(ValueError, match="a SavedModel decodes greedily"):
        tf_prompt.load(tiny_export, num_beams=2)
    with pytest.raises(ValueError, match="bank needs a run"):
        tf_prompt.load(tiny_export, bank="bank.txt")


def test_a_folder_of_no_model_is_named(tiny_export):
    for place in (tiny_export.parent, "absent", "knn:absent"):
        with pytest.raises(FileNotFoundError, match=f"of a server. Received: {place}"):
            tf_prompt.load(place)


def test_prompts_are_compared_and_shown_without_embeddings():
    prompts = [api.Prompt("a cat", 0.5, np.ones(384) * n) for n in (1, 2)]
    assert prompts[0] == prompts[1] and len(set(prompts)) == 1
    assert repr(prompts) == f"[{prompts[0]}, {prompts[1]}]" and "1." not in repr(
        prompts
    )


def test_a_server_is_named_by_its_address():
    options = api._server_of("https://host:8501/mine")
    assert (options.server, options.model_name) == ("https://host:8501", "mine")
    options = api._server_of("grpc://host:8500")
    assert (options.server, options.model_name) == ("host:8500", DEFAULT_MODEL)
    assert DEFAULT_MODEL == FitConfig.preset


def test_training_gives_a_run_and_calls_callbacks(tiny_shards, tmp_path):
    import keras

    epochs = []
    config = tf_prompt.FitConfig(
        data=str(tiny_shards),
        run_dir=str(tmp_path / "other"),
        epochs=1,
        batch_size=32,
        max_words=5,
        set=SMALL_TRANSFORMER,
    )
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epochs.append((epoch, "val_loss" in logs))
    )
    run = tf_prompt.train(config, tmp_path / "run", callbacks=[callback])
    assert epochs == [(0, True)]
    assert run.path == tmp_path / "run" and not (tmp_path / "other").exists()
    assert run.config.run_dir == str(tmp_path / "run") and run.model.count_params()


def test_scores_and_models_have_names():
    scores = tf_prompt.score(["a cat"], ["a cat"], metrics=["bleu_1"], resamples=5)
    assert scores["bleu_1"]["score"] == 100
    network = tf_prompt.build("transformer_tiny", image_size=32, vocab_size=50)
    assert network.vocab_size == 50
    assert set(tf_prompt.__all__) <= set(dir(tf_prompt))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tf_prompt.nothing  # noqa: B018


def test_the_import_loads_nothing_heavy():
    heavy = "{'numpy', 'keras', 'tensorflow'}"
    code = f"import sys, tf_prompt; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "set()", found.stderr
