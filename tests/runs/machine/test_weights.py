"""Pretrained weights and caches, in folders made here; no hub is asked."""

import http.server
import pathlib
import threading

import pytest

import tf_prompt
from tf_prompt.runs.machine import weights


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder with nothing in it."""
    for name in ("KAGGLEHUB_CACHE", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TF_PROMPT_CACHE", "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def touch(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("wanted", weights.ALL, ids=lambda wanted: wanted.name)
def test_names_are_those_that_the_code_asks_for(wanted):
    package = pathlib.Path(tf_prompt.__file__).parent
    text = "".join(
        path.read_text()
        for path in package.rglob("*.py")
        if path.name != pathlib.Path(weights.__file__).name
    )
    assert f'"{wanted.name}"' in text
    assert f'"{wanted.module}"' in text or not wanted.module


def test_a_preset_is_found_once_it_is_whole(home, monkeypatch):
    place = home / "hub/models/keras/resnetv1/keras/resnet_50_imagenet/3"
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(home / "hub"))
    touch(place / "config.json")
    assert weights.find(weights.RESNET) is None
    touch(place / "model.weights.h5")
    assert weights.find(weights.RESNET) == str(place)
    assert weights.find(weights.VIT) is None


@pytest.mark.parametrize(
    "variable, folder",
    [
        (None, ".cache/huggingface/hub"),
        ("HF_HOME", "given/hub"),
        ("HF_HUB_CACHE", "given"),
        ("XDG_CACHE_HOME", "given/huggingface/hub"),
    ],
)
def test_a_model_of_hugging_face_is_found(home, monkeypatch, variable, folder):
    if variable:
        monkeypatch.setenv(variable, str(home / "given"))
    place = home / folder / "models--roberta-large/snapshots/abc"
    touch(place / "model.safetensors")
    assert weights.find(weights.ROBERTA) == str(place)


def test_a_package_holds_weights(monkeypatch):
    in_a_package = weights.Weights("none", "a test", module="json")
    assert weights.find(in_a_package) == "package json"


def test_wordnet_is_found_where_nltk_looks(home, monkeypatch):
    touch(home / "nltk_data/corpora/wordnet.zip")
    assert weights.find_wordnet() == str(home / "nltk_data/corpora/wordnet.zip")
    touch(home / "given/corpora/wordnet/index.noun")
    monkeypatch.setenv("NLTK_DATA", f"nowhere:{home / 'given'}")
    assert weights.find_wordnet() == str(home / "given/corpora/wordnet")


def test_toy_sets_and_their_size(home):
    touch(home / ".cache/tf_prompt/toy-1/a.tfrecord", b"123")
    touch(home / ".cache/tf_prompt/toy-2.part/a.tfrecord", b"4567")
    found = weights.find_toy_sets()
    assert found == [home / ".cache/tf_prompt/toy-1"]
    assert weights.measure(found) == 3


@pytest.mark.parametrize(
    "status, answers", [(200, True), (404, True), (407, False), (503, False)]
)
def test_a_hub_answers_or_does_not(status, answers):
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.handle_request, daemon=True).start()
        assert weights.reach(f"http://127.0.0.1:{hub.server_port}") is answers


def test_a_hub_that_is_away_does_not_answer():
    assert not weights.reach("http://127.0.0.1:1")
