"""A run pushed to Kaggle's hub is the same run when it comes back."""

import pytest
from kagglehub import clients
from kagglesdk import kaggle_env

import tf_prompt
from tests.conftest import draw_record
from tests.serving.kaggle_hub import TOKEN, Hub
from tf_prompt.serving import hub

PLACE = "kaggle://me/patches/keras/tiny"
FORM = "or kaggle://OWNER/MODEL/keras/VARIATION"


@pytest.fixture
def running(tmp_path, monkeypatch):
    """The library asks our hub, with a cache and a home that are empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    for name in ("KAGGLE_API_ENVIRONMENT", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    # It reads the source of the whole call stack for each request.
    monkeypatch.setattr(clients, "get_user_agent", lambda: "kagglehub")
    with Hub() as found:
        # No environment variable names another address.
        monkeypatch.setitem(
            kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, found.address
        )
        yield found


def test_a_run_comes_back_from_kaggle(running, tiny_run):
    assert tf_prompt.push(tiny_run, PLACE) == PLACE
    assert running.private == {"me/patches": True}
    (files,) = running.versions["me/patches/tiny"]
    assert {"config.json", "vocabulary.txt", "best.keras", "README.md"} <= set(files)
    assert not any(name.startswith(("checkpoints", "logs")) for name in files)
    assert files["best.keras"] == (tiny_run / "best.keras").read_bytes()
    assert str(tiny_run.parent).encode() not in b"".join(files.values())
    images = [draw_record("blue", "middle", 0).image]
    (prompt,) = tf_prompt.load(PLACE).predict(images)
    assert prompt.text == "a blue patch middle"
    before = list(running.downloads)
    assert sorted(before) == sorted(files)
    # All of it is in the cache now.
    hub.fetch(PLACE)
    assert running.downloads == before


def test_a_second_push_is_a_second_version(running, tiny_run):
    hub.push(tiny_run, PLACE)
    hub.push(tiny_run, PLACE)
    assert running.notes == ["Share a run of tf_prompt"]
    running.versions["me/patches/tiny"][1] = {"config.json": b"{}"}
    assert (hub.fetch(PLACE) / "config.json").read_bytes() == b"{}"
    assert (hub.fetch(f"{PLACE}/1") / "best.keras").is_file()
    with pytest.raises(FileNotFoundError, match=f"Received: {PLACE}/3"):
        hub.fetch(f"{PLACE}/3")


@pytest.mark.parametrize(
    "name", ["me", "me/a", "me/a/keras", "me/a/jax/b", "me/a/keras/b/x", "../a/keras/b"]
)
def test_another_form_of_place_is_refused(name):
    with pytest.raises(ValueError, match=FORM):
        tf_prompt.load(f"kaggle://{name}")


def test_what_kaggle_does_not_make_is_refused(tiny_run):
    with pytest.raises(ValueError, match=r"place must have no revision"):
        hub.push(tiny_run, f"{PLACE}/1")
    with pytest.raises(ValueError, match=r"private must be True.*Received: False"):
        hub.push(tiny_run, PLACE, private=False)


def test_what_kaggle_has_not_is_told(running):
    with pytest.raises(FileNotFoundError, match=f"you may see it. Received: {PLACE}"):
        tf_prompt.load(PLACE)
    running.versions["me/patches/tiny"] = [{"model.weights.h5": b"x"}]
    with pytest.raises(FileNotFoundError, match=r"a run of tf_prompt.fit must be"):
        tf_prompt.load(PLACE)


def test_a_missing_login_is_told(running, tiny_run, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(ConnectionError, match=r"Received: .*401; KAGGLE_API_TOKEN"):
        hub.push(tiny_run, PLACE)
    assert not running.versions


def test_no_network_is_told(running, tiny_run, monkeypatch):
    monkeypatch.setitem(
        kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9"
    )
    for call in (lambda: hub.push(tiny_run, PLACE), lambda: hub.fetch(PLACE)):
        with pytest.raises(ConnectionError, match="the hub must answer") as found:
            call()
        assert "\n" not in str(found.value)
