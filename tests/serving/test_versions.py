"""A captioner's SavedModel: each signature, broken images, warm-up, versions."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.inference.test_captioner import PICTURES, build_model
from tests.inference.test_graph_embedder import embedder  # noqa: F401  a fixture
from tf_prompt.data import images
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference.captioner import NUM_BEAMS, CaptionerModel
from tf_prompt.metrics import prompt_embedder
from tf_prompt.serving import saved_model, versions, warmup
from tf_prompt.serving.signatures import Servable

ENCODED = [tf.io.encode_png(picture).numpy() for picture in PICTURES]
BROKEN = [b"", b"no image", ENCODED[0][:60], b"GIF89a" + bytes(20)]


@pytest.fixture(scope="module")
def writer(embedder):  # noqa: F811
    return CaptionerModel(*build_model("transformer_tiny"), embedder=embedder)


@pytest.fixture(scope="module")
def exported(writer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "captioner"
    return versions.export(Servable(writer), folder)


@pytest.fixture(scope="module")
def saved(exported):
    return saved_model.SavedPromptWriter(exported)


def test_pixels_give_what_their_file_gives(saved, writer):
    expected = writer.describe(PICTURES)
    for found in (saved(ENCODED), saved.run("pixels", PICTURES)):
        assert set(found) == {"prompt", "score"}
        np.testing.assert_array_equal(found["prompt"], expected["prompt"])
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)


def test_beams_come_best_first(saved, writer):
    options = DecodingConfig(num_beams=NUM_BEAMS)
    best = CaptionerModel(writer.network, writer.vocabulary, options).describe(PICTURES)
    found = saved.run("beam", ENCODED)
    assert found["prompt"].shape == found["score"].shape == (3, NUM_BEAMS)
    np.testing.assert_array_equal(found["prompt"][:, 0], best["prompt"])
    np.testing.assert_allclose(found["score"][:, 0], best["score"], atol=1e-5)
    assert (np.diff(found["score"], axis=1) <= 0).all()
    assert all(len(set(row)) == NUM_BEAMS for row in found["prompt"].tolist())


def test_attention_has_a_row_a_word(saved, writer):
    found = saved.run("attention", ENCODED)
    prompts = saved(ENCODED)["prompt"]
    assert found["weights"].shape[:2] == found["words"].shape
    assert found["words"].shape == (3, writer.network.max_tokens)
    rows = zip(found["words"], found["weights"], prompts, strict=True)
    for words, weights, prompt in rows:
        assert b" ".join(words[words != b""]) == prompt
        np.testing.assert_allclose(weights.sum(axis=1), words != b"", atol=1e-5)


def test_embeddings_are_those_of_the_prompts(saved, embedder):  # noqa: F811
    found = saved.run("embed", ENCODED)["embedding"]
    prompts = [prompt.decode() for prompt in saved(ENCODED)["prompt"]]
    np.testing.assert_allclose(
        found, prompt_embedder.embed(prompts, embedder), atol=1e-5
    )


def test_a_broken_image_spoils_no_other(saved):
    mixed = [BROKEN[0], ENCODED[0], *BROKEN[1:], ENCODED[1]]
    sound = np.array([data not in BROKEN for data in mixed])
    for signature in ("serving_default", "beam", "attention", "embed"):
        found, alone = saved.run(signature, mixed), saved.run(signature, ENCODED[:2])
        for name, value in found.items():
            of_sound, of_broken = value[sound], value[~sound]
            if value.dtype == object:
                np.testing.assert_array_equal(of_sound, alone[name])
                assert set(of_broken.ravel()) == {b""}
            else:
                np.testing.assert_allclose(of_sound, alone[name], atol=1e-5)
                nothing = 0 if name == "weights" else np.nan
                np.testing.assert_array_equal(
                    of_broken, np.full_like(of_broken, nothing)
                )


def test_batches_of_broken_images_alone_and_of_none(saved):
    assert np.isnan(saved(BROKEN)["score"]).all()
    found = saved(np.zeros(0, object).astype(bytes))
    assert [value.shape for value in found.values()] == [(0,), (0,)]


def test_no_operation_is_of_xla(exported):
    message = saved_model_pb2.SavedModel.FromString(
        (exported / "saved_model.pb").read_bytes()
    )
    (graph,) = (meta.graph_def for meta in message.meta_graphs)
    functions = graph.library.function
    operations = {n.op for nodes in (graph, *functions) for n in _nodes_of(nodes)}
    assert "DecodeImage" in operations
    assert not any("Xla" in name for name in operations)
    assert not any(f.attr["_XlaMustCompile"].b for f in functions)


def _nodes_of(message):
    return message.node_def if hasattr(message, "node_def") else message.node


@pytest.mark.slow
def test_tensorflow_alone_answers(exported):
    """In a process that can import neither Keras nor tensorflow-text."""
    program = (
        "import sys; sys.modules.update(keras=None, tensorflow_text=None)\n"
        "import tensorflow as tf; loaded = tf.saved_model.load(sys.argv[1])\n"
        "data = tf.io.encode_png(tf.zeros((20, 30, 3), tf.uint8))[None]\n"
        "for name, signature in loaded.signatures.items():\n"
        "    if name != 'pixels': signature(image_bytes=data)\n"
        "print(sorted(loaded.signatures))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported)], capture_output=True, text=True
    )
    names = ["attention", "beam", "embed", "pixels", "serving_default"]
    assert done.stdout.strip() == str(names), done.stderr[-2000:]


def test_warmup_has_each_batch_size(exported, saved):
    pytest.importorskip("tensorflow_serving")
    warmup.write_requests(exported, saved, "captioner")
    file = exported / "assets.extra" / "tf_serving_warmup_requests"
    answered = warmup.replay(saved, file)
    sizes = [size for name, size in answered if name == "serving_default"]
    assert sizes == [1, 2, 4, 8, 16]
    assert {name for name, _ in answered} == set(saved.inputs)


def test_a_warmup_request_that_fails_is_named(exported, saved, tmp_path):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    log = logs.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "absent"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([1]))
    with tf.io.TFRecordWriter(str(tmp_path / "requests")) as file:
        file.write(log.SerializeToString())
    with pytest.raises(ValueError, match="Received: absent of 1"):
        warmup.replay(saved, tmp_path / "requests")


def make_versions(folder, *numbers):
    for number in numbers:
        (folder / str(number) / "assets").mkdir(parents=True)
        (folder / str(number) / "saved_model.pb").touch()
        (folder / str(number) / "assets" / "config.json").touch()


def test_old_versions_go_but_not_those_with_a_label(tmp_path):
    make_versions(tmp_path, 1, 2, 3, 9, 10)
    assert versions.remove_old(tmp_path, 2, {"stable": 2}.values()) == [1, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "2", "9"]
    assert versions.remove_old(tmp_path, 5) == []
    with pytest.raises(ValueError, match="keep must be positive"):
        versions.remove_old(tmp_path, 0)


def test_what_export_did_not_write_stays(tmp_path):
    make_versions(tmp_path, 3, 4)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    (tmp_path / "2").touch()
    assert versions.remove_old(tmp_path, 1) == [3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "4"]
    assert (tmp_path / "1" / "saved_model.pb").is_file()


def test_what_the_last_steps_refuse_is_not_published(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "_write", lambda servable, path: path.mkdir())
    monkeypatch.setattr(versions, "_check_export", lambda servable, saved: None)
    monkeypatch.setattr(versions, "SavedPromptWriter", lambda path, **_: "saved")

    def refuse(path, saved):
        assert (path.is_dir(), saved) == (True, "saved")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        versions.export(writer, tmp_path, (), [refuse])
    assert list(tmp_path.iterdir()) == []
    make_versions(tmp_path, 9)
    version = versions.export(writer, tmp_path, (), [lambda p, _: (p / "x").touch()])
    assert version == tmp_path / "10"
    assert [path.name for path in version.iterdir()] == ["assets", "x"]


def test_a_number_that_was_taken_in_between_is_passed_over(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    make_versions(tmp_path / "m", 1, 2)
    listed = iter([[1], [1, 2]])
    monkeypatch.setattr(versions, "list_versions", lambda folder: next(listed))
    assert versions.publish(path, tmp_path / "m") == tmp_path / "m" / "3"


def test_images_are_decoded_at_several_sizes():
    pictures, sound = images.decode_batch(tf.constant([ENCODED[0], b"x"]), [16, 4])
    assert sound.numpy().tolist() == [True, False]
    np.testing.assert_array_equal(pictures[0][0], PICTURES[0])
    np.testing.assert_array_equal(pictures[1][0], images.decode_image(ENCODED[0], 4))
    assert not any(picture[1].numpy().any() for picture in pictures)


def test_embeddings_find_their_prompt_in_a_bank(tmp_path):
    """The stand-in's embedding is the colour of the first pixel."""
    from tests.inference.test_model import Constant
    from tf_prompt.inference.bank import PromptBank
    from tf_prompt.inference.embedding_models import BankedModel

    bank = PromptBank(["Red, 3 things!", "blue"], np.eye(3, dtype=np.float32)[[0, 2]])
    model = Constant(1, [1 / 255] * 3)
    banked = Servable(BankedModel(model, bank))
    path = versions.export(banked, tmp_path / "m")
    saved = saved_model.SavedPromptWriter(path)
    colours = [[255, 0, 0], [0, 0, 255]]
    encoded = [tf.io.encode_png(np.array([[c]], np.uint8)).numpy() for c in colours]
    found = saved([*encoded, b"x"])
    assert found["prompt"].tolist() == [b"red things", b"blue", b""]
    np.testing.assert_allclose(found["score"], [1, 1, np.nan])
    np.testing.assert_allclose(
        found["embedding"], [[1, 0, 0], [0, 0, 1], [np.nan] * 3], atol=1e-6
    )
    without = versions.export(Servable(model), tmp_path / "m")
    with pytest.raises(ValueError, match="must write prompts. Received"):
        saved_model.SavedPromptWriter(without)


def test_what_is_no_saved_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a version's folder"):
        saved_model.SavedPromptWriter(pathlib.Path(tmp_path))
