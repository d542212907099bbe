"""A run pushed to a hub is the same run when it comes back."""

import pytest
from huggingface_hub import constants

import tf_prompt
from tests.conftest import draw_record
from tests.serving.hugging_face_hub import TOKEN, Hub, sha_of
from tf_prompt.files import read_json
from tf_prompt.serving import hub


@pytest.fixture(scope="module")
def running():
    with Hub() as found:
        yield found


@pytest.fixture(autouse=True)
def _of_this_machine(running, tmp_path, monkeypatch):
    """The library asks our hub, with a cache that is empty."""
    monkeypatch.setattr(constants, "ENDPOINT", running.address)
    template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")


def test_a_run_comes_back_from_the_hub(running, tiny_run):
    place = "hf://me/patches"
    assert tf_prompt.push(tiny_run, place) == place
    assert running.private["me/patches"]
    (files,) = running.commits["me/patches"]
    assert {"config.json", "vocabulary.txt", "best.keras", "README.md"} <= set(files)
    assert not any(name.startswith(("checkpoints", "logs")) for name in files)
    assert files["best.keras"] == (tiny_run / "best.keras").read_bytes()
    # A card in the hub's format, and no place of this machine.
    assert files["README.md"].startswith(b"---\n")
    assert str(tiny_run.parent).encode() not in b"".join(files.values())
    images = [draw_record("blue", "middle", 0).image]
    (prompt,) = tf_prompt.load(place).predict(images)
    (own,) = tf_prompt.load(tiny_run).predict(images)
    assert prompt.text == own.text == "a blue patch middle"
    assert prompt.score == pytest.approx(own.score, abs=1e-6)
    before = list(running.downloads)
    assert "README.md" not in before
    # All of it is in the cache now.
    folder = hub.fetch(place)
    assert running.downloads == before
    data = read_json(tiny_run / "config.json")["data"]
    found = read_json(folder / "config.json")["data"]
    assert "/" in data and found == data.rpartition("/")[2]


def test_a_second_push_is_a_second_revision(running, tiny_run):
    hub.push(tiny_run, "hf://me/twice")
    running.commits["me/twice"].append({"config.json": b"{}"})
    assert (hub.fetch("hf://me/twice") / "config.json").read_bytes() == b"{}"
    first = hub.fetch(f"hf://me/twice@{sha_of('me/twice', 0)}")
    assert (first / "best.keras").is_file()


@pytest.mark.parametrize("place", ["hf://name", "hf:///x", "hf://a/b/c", "gs://a/b"])
def test_another_form_of_place_is_refused(place, tiny_run):
    with pytest.raises(ValueError, match="place must be hf://OWNER/NAME"):
        hub.push(tiny_run, place)


def test_what_the_hub_has_not_is_told(running, tiny_run, monkeypatch):
    with pytest.raises(FileNotFoundError, match="Received: hf://me/nothing"):
        tf_prompt.load("hf://me/nothing")
    running.commits["me/other"] = [{"model.safetensors": b"x"}]
    with pytest.raises(FileNotFoundError, match=r"a run of tf_prompt.fit must be"):
        tf_prompt.load("hf://me/other")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(ConnectionError, match="Received: hf://me/x.*401"):
        hub.push(tiny_run, "hf://me/x")


def test_a_run_without_a_model_is_not_shared(tiny_run, tmp_path):
    (tmp_path / "config.json").write_bytes((tiny_run / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"run_dir must hold best\.keras"):
        hub.push(tmp_path, "hf://me/early")
