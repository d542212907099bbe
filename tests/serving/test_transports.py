"""gRPC and REST against a server that fails, waits and refuses."""

import concurrent.futures
import sys
import threading
import time

import pytest
import urllib3

from tests.serving.model_server import ModelServer
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import image_files
from tf_prompt.serving.client.calls import CallFailed
from tf_prompt.serving.client.options import ServerConfig
from tf_prompt.serving.client.rest_calls import RestCall
from tf_prompt.serving.client.writer import RefusedRequest, connect

GRPC_AND_REST = pytest.mark.parametrize("transport", ["grpc", "rest"])


def connect_to(server, transport, **flags):
    """The writer of the stub; one further call, whatever it takes."""
    address = server.address if transport == "grpc" else server.url
    flags = {"model": "stub", "retries": 1, **flags}
    return connect(ServerConfig(server=address, **flags), DecodingConfig())


@GRPC_AND_REST
@pytest.mark.parametrize(
    "flags, version",
    [
        ({}, 2),
        ({"model_version": 1}, 1),
        ({"model_label": "stable"}, 1),
        ({"model_label": "canary"}, 2),
    ],
)
def test_version_and_label(server, transport, flags, version):
    written = connect_to(server, transport, **flags)([b"abc", b"abcde"])
    assert list(written["prompt"]) == [b"v%d 3" % version, b"v%d 5" % version]
    assert list(written["score"]) == [-3 / 8, -5 / 8]
    assert server.log == [(transport, 2)]


@GRPC_AND_REST
@pytest.mark.parametrize(
    "flags, message",
    [
        ({"model": "nope"}, r"Servable not found for request: Latest\(nope\)"),
        ({"model": None}, r"model=transformer_tiny: .*Latest\(transformer_tiny\)"),
        ({"model_version": 7}, r"request: Specific\(stub, 7\)"),
        ({"model_label": "x"}, "Unrecognized servable version label: x"),
    ],
)
def test_what_the_server_does_not_have(server, transport, flags, message):
    with pytest.raises(RefusedRequest, match=message) as error:
        connect_to(server, transport, **flags)([b"abc"])
    assert "localhost:" in str(error.value)


@GRPC_AND_REST
def test_a_broken_image_costs_no_other(server, transport, tmp_path):
    for name, data in {"a.png": b"abc", "b.png": b"bad", "c.jpg": b"abcd"}.items():
        (tmp_path / name).write_bytes(data)
    writer = connect_to(server, transport)
    rows = list(image_files.predict(writer, sorted(tmp_path.iterdir()), 16))
    assert [row.get("prompt") for row in rows] == ["v2 3", None, "v2 4"]
    assert rows[1]["error"].startswith("not an image")
    assert "score" not in rows[1]
    assert server.log == [(transport, 3)]


@GRPC_AND_REST
@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]
)
def test_what_passes_is_tried_again(server, transport, code):
    server.faults.extend([code, code])
    written = connect_to(server, transport, retries=2)([b"abc"])
    assert list(written["prompt"]) == [b"v2 3"]
    assert len(server.log) == 3
    server.faults.extend([code, code])
    with pytest.raises(ConnectionError, match="in 2 calls: .*as the test asks"):
        connect_to(server, transport, retries=1)([b"abc"])


@GRPC_AND_REST
@pytest.mark.parametrize("code", ["INTERNAL", "UNIMPLEMENTED", "NOT_FOUND"])
def test_what_does_not_pass_is_told_at_once(server, transport, code):
    server.faults.append(code)
    with pytest.raises((ConnectionError, RefusedRequest), match="as the test asks"):
        connect_to(server, transport, retries=2)([b"abc"])
    assert len(server.log) == 1


@GRPC_AND_REST
def test_deadline(server, transport):
    server.faults.append(1.0)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="DEADLINE_EXCEEDED"):
        connect_to(server, transport, timeout=0.2, retries=0)([b"abc"])
    assert 0.2 <= time.monotonic() - start < 0.9


@GRPC_AND_REST
def test_a_late_answer_is_asked_for_again(server, transport):
    server.faults.append(1.0)
    written = connect_to(server, transport, timeout=0.4)([b"abc"])
    assert list(written["prompt"]) == [b"v2 3"]
    assert len(server.log) == 2


@GRPC_AND_REST
def test_a_server_that_is_down(stubs, transport):
    with ModelServer(stubs) as gone:
        pass
    with pytest.raises(ConnectionError, match="must answer. Received in 2") as error:
        connect_to(gone, transport)([b"abc"])
    assert str(error.value).count("\n") == 0
    assert (gone.address if transport == "grpc" else gone.url) in str(error.value)


def test_rest_says_why_there_is_no_connection(stubs):
    with ModelServer(stubs) as gone:
        pass
    with pytest.raises(ConnectionError, match="UNAVAILABLE: Connection refused"):
        connect_to(gone, "rest", retries=0)([b"abc"])
    config = ServerConfig(server="http://absent.invalid:1", retries=0)
    with pytest.raises(ConnectionError, match=r"UNAVAILABLE: [A-Z][\w -]+$"):
        connect(config, DecodingConfig())([b"abc"])


@pytest.mark.parametrize(
    "header, pause",
    [
        ({"Retry-After": "2"}, 2.0),
        ({"Retry-After": "3600"}, 30.0),
        ({"Retry-After": "Wed, 01 Jan 2200 00:00:00 GMT"}, 30.0),
        ({"Retry-After": "soon"}, 0.0),
        ({}, 0.0),
    ],
    ids=["seconds", "hour", "date", "junk", "none"],
)
def test_rest_waits_as_it_is_asked_to(header, pause):
    """But no longer than one call may take, 30 s."""
    answer = urllib3.HTTPResponse(b"busy", {**header}, status=503)
    call = RestCall(ServerConfig(server="http://h:1"))
    call._pool.request = lambda *arguments, **named: answer
    with pytest.raises(CallFailed, match="HTTP 503: busy") as failed:
        call([b"abc"])
    assert failed.value.may_pass and failed.value.pause == pause


def test_rest_keeps_its_connection(server):
    writer = connect_to(server, "rest")
    for _ in range(3):
        writer([b"abc"])
    (pool,) = map(writer._call._pool.pools.get, writer._call._pool.pools.keys())
    assert (pool.num_requests, pool.num_connections) == (3, 1)


@GRPC_AND_REST
def test_a_server_that_starts_late(stubs, transport):
    with ModelServer(stubs) as first:
        ports = [int(a.rsplit(":", 1)[1]) for a in (first.address, first.url)]
    writer = connect_to(first, transport, retries=6)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        written = pool.submit(writer, [b"abc"])
        time.sleep(0.3)
        with ModelServer(stubs, port=ports[0], rest_port=ports[1]):
            assert list(written.result(timeout=20)["prompt"]) == [b"v2 3"]


@pytest.mark.parametrize(
    "transport, hint",
    [("grpc", "a REST port is given as"), ("rest", "a gRPC port is given as")],
)
def test_the_other_port(server, transport, hint):
    address = server.url if transport == "grpc" else f"http://{server.address}"
    # By number: a name is tried as IPv6 last, where the server is not.
    address = address.replace("localhost", "127.0.0.1")
    if transport == "grpc":
        address = address.removeprefix("http://")
    config = ServerConfig(server=address, model="stub", retries=0)
    with pytest.raises(ConnectionError, match=hint) as error:
        connect(config, DecodingConfig())([b"abc"])
    assert str(error.value).isprintable()


@GRPC_AND_REST
def test_requests_that_are_too_large(stubs, transport):
    """16 kB are taken: two images of 5 kB, in base64 too, but no single of 50 kB."""
    with ModelServer(stubs, max_bytes=16_000) as server:
        writer = connect_to(server, transport)
        images = [b"x" * (5000 + n) for n in range(7)]
        written = writer([*images, b"y" * 50_000])
    expected = [b"v2 %d" % (5000 + n) for n in range(7)]
    assert list(written["prompt"]) == [*expected, b""]
    assert written["error"][:7] == [None] * 7
    assert written["error"][7].startswith("too large for ")
    assert max(size for _, size in server.log) in (2, 3)


@GRPC_AND_REST
def test_more_than_grpc_takes_by_default(server, transport):
    """A channel receives 4 MB unless it is told otherwise."""
    written = connect_to(server, transport)([b"x" * 3_000_000, b"x" * 3_000_001])
    assert list(written["prompt"]) == [b"v2 3000000", b"v2 3000001"]


@GRPC_AND_REST
@pytest.mark.parametrize("batch_size", [0, 32])
def test_concurrent_clients(stubs, transport, batch_size):
    """Each of 16 gets the answers to its own questions."""
    with ModelServer(stubs, batch_size=batch_size) as server:
        barrier = threading.Barrier(16)

        def ask(client):
            writer = connect_to(server, transport)
            barrier.wait(timeout=20)
            for turn in range(4):
                sizes = [1 + 100 * client + 10 * turn + n for n in range(1 + client)]
                written = writer([b"x" * size for size in sizes])
                assert list(written["prompt"]) == [b"v2 %d" % size for size in sizes]

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(16)))
        assert len(server.log) == 64
        if batch_size:
            sizes = server.models.find("stub")[1].batcher.sizes
            assert sum(sizes) == 4 * sum(range(1, 17))
            assert len(sizes) < 64 and max(sizes) <= 32


@GRPC_AND_REST
def test_tls(stubs, certificate, transport):
    key, chain = map(str, certificate)
    with ModelServer(stubs, certificate=(key, chain, None)) as server:
        written = connect_to(server, transport, ca_cert=chain)([b"abc"])
        assert list(written["prompt"]) == [b"v2 3"]
        with pytest.raises(ConnectionError, match="Received: TLS: .*--ca-cert FILE"):
            connect_to(server, transport, tls=True)([b"abc"])
        if transport == "grpc":
            with pytest.raises(ConnectionError, match="must answer"):
                connect_to(server, transport, retries=0)([b"abc"])


@GRPC_AND_REST
def test_certificate_of_the_client(stubs, certificate, transport):
    key, chain = map(str, certificate)
    with ModelServer(stubs, certificate=(key, chain, chain)) as server:
        mine = {"ca_cert": chain, "client_cert": chain, "client_key": key}
        written = connect_to(server, transport, **mine)([b"abc"])
        assert list(written["prompt"]) == [b"v2 3"]
        with pytest.raises(ConnectionError, match="must answer"):
            connect_to(server, transport, ca_cert=chain, retries=0)([b"abc"])


@GRPC_AND_REST
def test_files_that_are_no_certificates(server, transport, certificate, tmp_path):
    key, chain = map(str, certificate)
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    server.url = server.url.replace("http:", "https:")
    with pytest.raises(FileNotFoundError, match="ca_cert must be a PEM file"):
        connect_to(server, transport, ca_cert=str(tmp_path / "absent.pem"))
    with pytest.raises(ValueError, match="must be PEM files.*other.pem"):
        connect_to(server, transport, ca_cert=str(other))
    with pytest.raises(ValueError, match="must be PEM files"):
        connect_to(server, transport, client_cert=chain, client_key=chain)


def test_grpc_says_which_extra_it_needs(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    message = r'pip install "tf_prompt\[tf-serving\]"; REST'
    with pytest.raises(ValueError, match=message):
        connect_to(server, "grpc")
    assert list(connect_to(server, "rest")([b"abc"])["prompt"]) == [b"v2 3"]


def test_no_path_but_the_images_is_read(server, tmp_path):
    """A batch of files that cannot be read asks nothing of the server."""
    rows = list(image_files.predict(connect_to(server, "grpc"), [tmp_path / "x"], 4))
    assert rows == [{"path": str(tmp_path / "x"), "error": "No such file or directory"}]
    assert server.log == []
