"""Requests that no browser sends: other folders' files, bodies too large."""

import contextlib
import gc
import http.client
import importlib.util
import threading
import types
import urllib.parse

import pytest

from tests.demo.test_handlers import ColourWriter
from tf_prompt.demo import describing

# Not imported here, where each worker would wait three seconds for it.
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="needs tf_prompt[demo]"
)
# Gradio leaves loops and sockets open where it builds a page and where it ends one.
pytestmark = [
    needs_gradio,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OPTIONS = types.SimpleNamespace(
    host="127.0.0.1", port=None, max_upload_mb=1, max_files=2, queue=4
)
SECRET = b"only for its owner"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The page with a model that costs nothing; gives its address and folder."""
    root = tmp_path_factory.mktemp("demo")
    folder = root / "uploads"
    folder.mkdir()
    (root / "secret.png").write_bytes(SECRET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        from tf_prompt.demo import page

        describer = describing.Describer([ColourWriter()])
        blocks = page.build_page(describer, folder, [], OPTIONS)
        # `serve` waits for Ctrl-C, and takes a signal that only a main thread may.
        patch.setattr(page.signal, "signal", lambda *_: None)
        ready, done, opened = (threading.Event() for _ in range(3))
        patch.setattr(blocks, "block_thread", lambda: (ready.set(), done.wait()))
        thread = threading.Thread(target=page.serve, args=(blocks, OPTIONS, opened.set))
        thread.start()
        assert ready.wait(60) and opened.is_set()
        yield blocks.server_port, root
        done.set()
        thread.join()
        blocks.close()
    # Here, or it would be another test's warning.
    del blocks, thread
    gc.collect()


def ask(server, method, path, body=None, headers=None, size=None):
    """Status and body of an answer; `size` announces another size than is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=30)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None and "Transfer-Encoding" not in (headers or {}):
            connection.putheader("Content-Length", str(size or len(body)))
        connection.endheaders()
        if body is not None:
            connection.send(body)
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def upload(server, *contents, size=None):
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        + content
        + b"\r\n"
        for content in contents
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    path = "/gradio_api/upload"
    return ask(server, "POST", path, parts + b"--x--\r\n", headers, size)


def test_an_upload_of_fair_size_is_taken(server):
    status, answer = upload(server, b"x" * 1000)
    assert status == 200 and b"a.png" in answer
    # Gradio gives it back, and so would a file that is there by mistake.
    place = answer.decode().strip('[]"')
    assert ask(server, "GET", f"/gradio_api/file={place}") == (200, b"x" * 1000)


def test_files_outside_the_uploads_are_not_given(server):
    secret = server[1] / "secret.png"
    uploads = server[1] / "uploads"
    places = [str(secret), f"{uploads}/../secret.png", f"{uploads}//..//secret.png"]
    places += ["/etc/passwd", "../../../../etc/passwd", f"file://{secret}", "~/.netrc"]
    places += [f"{uploads}/..%2fsecret.png", f"{uploads}/\\..\\secret.png"]
    places += [urllib.parse.quote(place, safe="") for place in places]
    for place in places:
        for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/"):
            status, answer = ask(server, "GET", prefix + place)
            assert status >= 400, (prefix, place)
            assert SECRET not in answer and b"root:" not in answer


def test_a_link_out_of_the_uploads_is_not_followed(server):
    link = server[1] / "uploads" / "link.png"
    link.symlink_to(server[1] / "secret.png")
    _, answer = ask(server, "GET", f"/gradio_api/file={link}")
    assert SECRET not in answer


def test_too_large_a_file_is_refused(server):
    status, _ = upload(server, bytes(2**20 + 1))
    assert status == 413


def test_too_many_files_are_refused_unread(server):
    # Announced alone: nothing of it need be sent.
    status, _ = upload(server, b"x", size=3 * 2**20)
    assert status == 413


@pytest.mark.parametrize(
    "path", ["/gradio_api/queue/join", "/gradio_api/run/show", "/config", "/"]
)
def test_too_large_a_body_is_refused_unread(server, path):
    assert ask(server, "POST", path, b"{}", size=2**20 + 1)[0] == 413


def test_a_body_of_unknown_size_is_refused(server):
    chunked = {"Transfer-Encoding": "chunked"}
    assert ask(server, "POST", "/gradio_api/queue/join", b"", chunked)[0] == 411


def test_the_page_is_there(server):
    assert ask(server, "GET", "/")[0] == 200
