"""The service as curl sees it: files, A1111's way, limits, load, and its end."""

import base64
import concurrent.futures
import json
import shutil
import subprocess
import threading

import pytest

pytest.importorskip("fastapi", reason="needs tf_prompt[serve]")
if shutil.which("curl") is None:
    pytest.skip("needs curl", allow_module_level=True)

from tests.serving.http import colours  # noqa: E402
from tf_prompt.serving.http import guards  # noqa: E402


@pytest.fixture(scope="module")
def writer():
    return colours.ColourWriter()


@pytest.fixture(scope="module")
def address(writer):
    with colours.serving(writer) as (address, *_):
        yield address


@pytest.fixture(scope="module")
def guarded():
    with colours.serving(colours.ColourWriter(), token="s3cret ü") as (address, *_):
        yield address


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "blue.png"
    path.write_bytes(colours.encode("blue"))
    return path


def curl(*arguments, data=None):
    """Status, headers and body of an answer."""
    done = subprocess.run(
        ["curl", "-sS", "-i", "--max-time", "30", *map(str, arguments)],
        input=data,
        capture_output=True,
        check=True,
    )
    answer = done.stdout.decode()
    while answer.startswith("HTTP/1.1 100"):
        answer = answer.partition("\r\n\r\n")[2]
    head, _, body = answer.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def post_json(url, content):
    argv = ["-H", "Content-Type: application/json", "--data-binary", "@-", url]
    return curl(*argv, data=json.dumps(content).encode())


def test_a_file_gets_its_prompt(address, picture):
    status, _, body = curl("-F", f"file=@{picture}", f"{address}/prompt")
    found = {"path": "blue.png", "prompt": "a blue patch", "score": -0.5}
    assert status == 200 and json.loads(body) == found


def test_what_a_file_says_itself_is_shown(address, tmp_path):
    from tf_prompt.data import metadata_writer

    path = tmp_path / "a.png"
    path.write_bytes(metadata_writer.write_prompt(colours.encode(), "a castle"))
    status, _, body = curl("-F", f"file=@{path}", f"{address}/prompt")
    assert status == 200
    found = json.loads(body)
    assert found["prompt"] == "a red patch"
    assert found["embedded"]["prompt"] == "a castle"


def test_a_form_without_a_file_is_refused(address):
    status, _, body = curl("-F", "other=1", f"{address}/prompt")
    assert (status, json.loads(body)) == (400, {"detail": "file: Field required."})


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("model", ["clip", "deepdanbooru", colours.NAME])
def test_interrogation_of_a1111(address, head, model):
    image = head + base64.b64encode(colours.encode()).decode()
    url = f"{address}/sdapi/v1/interrogate"
    status, _, body = post_json(url, {"image": image, "model": model})
    assert (status, json.loads(body)) == (200, {"caption": "a red patch"})


@pytest.mark.parametrize(
    "content, status, message",
    [
        ({"image": ""}, 404, "image must be given"),
        ({"image": "aaaa", "model": "blip"}, 404, "model must be one of clip"),
        ({"image": "http://here/a.png"}, 400, "addresses are not fetched"),
        ({"image": "eA=="}, 400, "image is not a picture that can be read"),
        ({"image": 7}, 400, "image: Input should be a valid string. Received: 7"),
        ([], 400, "valid dictionary"),
    ],
)
def test_a1111_is_told_what_is_wrong(address, content, status, message):
    found, _, body = post_json(f"{address}/sdapi/v1/interrogate", content)
    assert found == status and message in json.loads(body)["detail"]


def test_health_and_metrics(address, picture):
    curl("-F", f"file=@{picture}", f"{address}/prompt")
    curl(f"{address}/nowhere")
    status, _, body = curl(f"{address}/health")
    assert status == 200 and json.loads(body)["status"] == "ok"
    status, headers, body = curl(f"{address}/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    lines = dict(
        line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#")
    )
    assert float(lines['tf_prompt_requests_total{path="/prompt",status="200"}']) >= 1
    assert float(lines['tf_prompt_requests_total{path="other",status="404"}']) >= 1
    assert float(lines["tf_prompt_batch_images_count"]) >= 1
    assert float(lines["tf_prompt_requests_in_hand"]) == 0


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/v1", "/prompt/"])
def test_other_paths_are_not_found(address, path):
    status, _, body = curl(f"{address}{path}")
    assert status in (404, 307) and len(body.splitlines()) <= 1


def ask_together(writer, address, paths):
    """The statuses of requests that are all in hand before the first is answered."""

    def ask(path):
        return curl("-F", f"file=@{path}", f"{address}/prompt")[0]

    writer.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(len(paths)) as pool:
        answers = pool.map(ask, paths)
        metric = f"tf_prompt_requests_in_hand {len(paths)}.0"
        try:
            colours.wait_for(lambda: metric in curl(f"{address}/metrics")[2])
        finally:
            writer.gate.set()
        return list(answers)


def test_requests_that_wait_share_a_batch(writer, address, picture):
    """The first is passed on alone; four of those behind it make the next batch."""
    before = len(writer.batches)
    assert ask_together(writer, address, [picture] * 6) == [200] * 6
    assert writer.batches[before:] == [1, 4, 1]


def test_a_bad_image_costs_its_batch_nothing(writer, address, picture, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:60])
    paths = [picture, picture, broken, picture]
    assert ask_together(writer, address, paths) == [200, 200, 400, 200]


def test_a_full_queue_says_when_to_come_again(picture):
    writer = colours.ColourWriter()
    writer.gate.clear()
    with colours.serving(writer, queue=2) as (address, *_):
        threads = [
            threading.Thread(
                target=curl, args=("-F", f"file=@{picture}", f"{address}/prompt")
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        metric = "tf_prompt_requests_in_hand 2.0"
        colours.wait_for(lambda: metric in curl(f"{address}/metrics")[2])
        # Half of a large body is still to be sent when the answer is known.
        large = {"image": base64.b64encode(bytes(900_000)).decode()}
        status, headers, body = post_json(f"{address}/sdapi/v1/interrogate", large)
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert "2 requests are in hand" in json.loads(body)["detail"]
        writer.gate.set()
        for thread in threads:
            thread.join()
        status, _, _ = curl("-F", f"file=@{picture}", f"{address}/prompt")
        assert status == 200


def test_an_end_lets_answers_under_way_finish(picture):
    writer = colours.ColourWriter()
    writer.gate.clear()
    answers = []
    with colours.serving(writer) as (address, service, server):
        url = f"{address}/prompt"
        ask = threading.Thread(
            target=lambda: answers.append(curl("-F", f"file=@{picture}", url))
        )
        ask.start()
        in_hand = service.measures.in_hand
        colours.wait_for(lambda: in_hand.collect()[0].samples[0].value == 1)
        server.should_exit = True
        colours.wait_for(lambda: not server.servers[0].is_serving())
        with pytest.raises(subprocess.CalledProcessError):
            curl(f"{address}/health")
        writer.gate.set()
        ask.join()
    assert [status for status, *_ in answers] == [200]


def test_too_large_a_body_is_refused_unread(address):
    argv = ["-H", "Content-Length: 99000000", "-H", "Expect: 100-continue"]
    status, _, body = curl(*argv, "-d", "x", f"{address}/prompt")
    assert status == 413 and "Received: 99000000" in json.loads(body)["detail"]
    argv = ["-H", "Transfer-Encoding: chunked"]
    status, _, _ = curl(*argv, "-d", "x", f"{address}/prompt")
    assert status == 411


def test_a_body_that_does_not_arrive_gives_its_place_back(monkeypatch, picture):
    monkeypatch.setattr(guards, "BODY_SECONDS", 0.2)
    with colours.serving(colours.ColourWriter(), queue=1) as (address, *_):
        argv = ["-H", "Content-Length: 1000", "-d", "x"]
        status, _, body = curl(*argv, f"{address}/prompt")
        assert status == 408 and "must arrive within" in json.loads(body)["detail"]
        status, _, _ = curl("-F", f"file=@{picture}", f"{address}/prompt")
        assert status == 200


@pytest.mark.parametrize(
    "argv, status",
    [
        ([], 401),
        (["-H", "Authorization: Bearer guess"], 401),
        (["-H", "Authorization: Bearer s3cret ü"], 200),
        (["-u", "anyone:s3cret ü"], 200),
        (["-u", "s3cret ü:x"], 401),
        (["-H", "Authorization: Basic ***"], 401),
    ],
)
def test_a_token_opens_all(guarded, picture, argv, status):
    for path in ("/metrics", "/openapi.json", "/v1/models"):
        assert curl(*argv, f"{guarded}{path}")[0] == status
    found, headers, _ = curl(*argv, "-F", f"file=@{picture}", f"{guarded}/prompt")
    assert found == status
    assert (headers.get("www-authenticate") == "bearer") == (status == 401)


def test_health_needs_no_token(guarded):
    assert curl(f"{guarded}/health")[0] == 200


@pytest.mark.parametrize(
    "header, status",
    [
        ("Host: localhost:8000", 200),
        ("Host: [::1]", 200),
        ("Host: evil.example", 403),
        ("Host: 127.0.0.1.evil.example", 403),
        ("Origin: http://localhost:3000", 200),
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
    ],
)
def test_pages_of_the_web_cannot_ask(address, header, status):
    assert curl("-H", header, f"{address}/v1/models")[0] == status
