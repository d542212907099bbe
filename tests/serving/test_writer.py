"""Retries, pauses and requests that are too large, without a server."""

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.serving.client import calls
from tf_prompt.serving.client.calls import CallFailed
from tf_prompt.serving.client.options import ServerConfig
from tf_prompt.serving.client.writer import RefusedRequest, ServerWriter, connect

CONFIG = ServerConfig(server="h:1", retries=2)


class FakeCall:
    """Fails as it is told, then says each image back.

    Args:
        failures: what the first calls raise.
        limit: bytes that a call takes.
    """

    def __init__(self, failures=(), limit=10**9):
        self.failures, self.limit, self.sizes = list(failures), limit, []

    def __call__(self, image_bytes):
        self.sizes.append(len(image_bytes))
        if self.failures:
            raise self.failures.pop(0)
        if sum(map(len, image_bytes)) > self.limit:
            raise CallFailed("HTTP 413", "too big", is_too_large=True)
        scores = np.arange(len(image_bytes), dtype=np.float32)
        return {"prompt": np.array(image_bytes, object), "score": scores}


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between calls, which do not take place, without their jitter."""
    taken = []
    monkeypatch.setattr(calls.time, "sleep", taken.append)
    monkeypatch.setattr("urllib3.util.retry.random.random", lambda: 0.0)
    return taken


def test_pauses_double_up_to_a_limit(pauses):
    busy = [CallFailed("UNAVAILABLE", "busy", may_pass=True) for _ in range(8)]
    config = ServerConfig(server="h:1", retries=8)
    assert ServerWriter(FakeCall(busy), config)([b"x"])["prompt"] == [b"x"]
    assert pauses == [0, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0]


def test_pauses_have_jitter():
    """The second is 0.4 s and up to 0.2 s more: four of them differ."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls.time, "sleep", drawn.append)
        for _ in range(4):
            busy = [CallFailed("UNAVAILABLE", "busy", may_pass=True) for _ in range(2)]
            ServerWriter(FakeCall(busy), CONFIG)([b"x"])
    assert drawn[::2] == [0] * 4 and len(set(drawn[1::2])) == 4
    assert all(0.4 <= pause <= 0.6 for pause in drawn[1::2])


def test_a_server_may_ask_for_a_longer_pause(pauses):
    failure = CallFailed("HTTP 429", "busy", may_pass=True, pause=7.0)
    ServerWriter(FakeCall([failure]), CONFIG)([b"x"])
    assert pauses == [7.0]


def test_the_last_failure_is_told(pauses):
    busy = [CallFailed("UNAVAILABLE", f"no {n}", may_pass=True) for n in range(3)]
    with pytest.raises(ConnectionError) as error:
        ServerWriter(FakeCall(busy), CONFIG)([b"x"])
    assert str(error.value) == (
        "server h:1 must answer. Received in 3 calls: UNAVAILABLE: no 2"
    )
    assert len(pauses) == 2


def test_what_does_not_pass_is_not_tried_again(pauses):
    call = FakeCall([CallFailed("NOT_FOUND", "no model", is_wrong=True)])
    with pytest.raises(RefusedRequest, match="model=transformer_tiny: NOT_FOUND"):
        ServerWriter(call, CONFIG)([b"x"])
    assert call.sizes == [1] and pauses == []


def test_a_refusal_is_an_error_of_both_kinds():
    """`prediction` looks for broken files after one, commands tell of the other."""
    assert issubclass(RefusedRequest, tf.errors.InvalidArgumentError)
    assert issubclass(RefusedRequest, ValueError)


def test_requests_that_are_too_large_are_halved():
    call = FakeCall(limit=25)
    writer = ServerWriter(call, CONFIG)
    images = [b"%010d" % n for n in range(8)]
    written = writer(images)
    assert list(written["prompt"]) == images
    assert written["error"] == [None] * 8
    # Eight and four are too many; after that, four are not tried again.
    assert call.sizes == [8, 4, 2, 2, 2, 2]
    call.sizes.clear()
    assert list(writer(images)["prompt"]) == images
    assert call.sizes == [2, 2, 2, 2]


def test_an_image_that_is_too_large_costs_no_other():
    images = [b"a", b"b" * 30, b"c"]
    written = ServerWriter(FakeCall(limit=25), CONFIG)(images)
    assert list(written["prompt"]) == [b"a", b"", b"c"]
    assert list(np.isnan(written["score"])) == [False, True, False]
    assert written["error"] == [None, "too large for h:1: HTTP 413: too big", None]


@pytest.mark.parametrize(
    "answer",
    [
        {"prompt": np.array([b"x"], object), "score": np.zeros(1)},
        {"prompt": np.array([b"x"] * 2, object)},
        {"embedding": np.zeros((2, 384))},
    ],
    ids=["rows", "score", "embedding"],
)
def test_an_answer_of_another_shape_is_refused(answer):
    with pytest.raises(RefusedRequest, match="h:1 must have the model.*wrong answer"):
        ServerWriter(lambda image_bytes: answer, CONFIG)([b"x", b"y"])


def test_other_ways_of_decoding_are_refused():
    with pytest.raises(ValueError, match="need --run-dir. Received: server=h:1"):
        connect(CONFIG, DecodingConfig(num_beams=3))
