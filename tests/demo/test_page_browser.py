"""The whole page in a headless Chromium, against the real command."""

import csv
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile

import pytest

from tests import conftest
from tests.demo.test_requests import needs_gradio
from tf_prompt.data import text

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    needs_gradio,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
# Milliseconds: the first picture waits for the model's graph.
PATIENCE = 60_000


@pytest.fixture(scope="module")
def page_address(tiny_run, tmp_path_factory):
    """Runs the command; afterwards its uploads must be gone."""
    temporary = tmp_path_factory.mktemp("temporary")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tf_prompt.demo", "--run-dir", str(tiny_run)]
    command += ["--port", str(port), "--num-prompts", "3", "--max-upload-mb", "1"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        # Ends if the command does.
        line = process.stdout.readline()
        try:
            assert line.startswith(f"http://127.0.0.1:{port}/"), line
            yield line.split()[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    assert not list(temporary.glob("tf_prompt-demo-*"))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture(params=[1280, 390], ids=["desk", "phone"])
def page(request, browser, page_address):
    """A fresh page; it must ask no other host, and overflow no screen."""
    context = browser.new_context(viewport={"width": request.param, "height": 844})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    addresses, errors = [], []
    tab.on("request", lambda asked: addresses.append(asked.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page_address)
    tab.wait_for_selector("#picture input[type=file]", state="attached")
    yield tab
    width = tab.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert width <= request.param
    assert not errors
    others = [
        a for a in addresses if not a.startswith((page_address, "data:", "blob:"))
    ]
    assert not others


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    picture = folder / "red patch é.jpg"
    picture.write_bytes(conftest.draw_record("red", "left", 0).image)
    (folder / "notes.png").write_text("this is text\n")
    (folder / "big.png").write_bytes(bytes(1_500_000))
    return folder


EXPECTED = text.normalise(conftest.draw_record("red", "left", 0).prompt)


def choose(page, where, *paths):
    page.locator(f"{where} input[type=file]").first.set_input_files(list(paths))


def test_upload_gives_prompt_scores_attention_and_copy(page, files):
    choose(page, "#picture", files / "red patch é.jpg")
    page.wait_for_selector(".tfp-words img")
    assert page.locator(".prompt textarea").input_value() == EXPECTED
    assert page.locator(".tfp-list").first.locator("li").count() == 3
    views = page.locator(".tfp-words figcaption").all_inner_texts()
    assert views == EXPECTED.split()
    page.locator(".prompt button").first.click()
    page.wait_for_function("navigator.clipboard.readText().then(t => t.length > 0)")
    assert page.evaluate("navigator.clipboard.readText()") == EXPECTED


def test_a_pasted_picture_gives_its_prompt(page, files):
    data = list((files / "red patch é.jpg").read_bytes())
    page.evaluate(
        """async data => {
          const jpeg = new Blob([new Uint8Array(data)], {type: "image/jpeg"});
          const bitmap = await createImageBitmap(jpeg);
          const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
          canvas.getContext("2d").drawImage(bitmap, 0, 0);
          const png = await canvas.convertToBlob({type: "image/png"});
          await navigator.clipboard.write([new ClipboardItem({"image/png": png})]);
        }""",
        data,
    )
    page.get_by_role("button", name="Paste from clipboard").click()
    page.wait_for_selector(".tfp-words img")
    assert page.locator(".prompt textarea").input_value() == EXPECTED


def test_text_named_png_gives_a_message_and_the_page_goes_on(page, files):
    choose(page, "#picture", files / "notes.png")
    alert = page.locator(".tfp-error[role=alert]")
    alert.wait_for()
    assert "notes.png is not a picture that can be read" in alert.inner_text()
    assert "Traceback" not in page.content()
    assert not page.locator(".prompt textarea").is_visible()
    page.get_by_role("button", name="Remove Image").click()
    page.wait_for_selector(".tfp-hint")
    choose(page, "#picture", files / "red patch é.jpg")
    page.wait_for_selector(".tfp-words img")
    assert not alert.is_visible()


def test_a_batch_gives_a_table_and_a_csv(page, files):
    page.get_by_role("tab", name="Batch").focus()
    page.keyboard.press("Enter")
    choose(page, "#files", files / "red patch é.jpg", files / "notes.png")
    page.locator("#files").get_by_text("notes").first.wait_for()
    # By keyboard alone.
    page.locator("#start").focus()
    page.keyboard.press("Enter")
    page.get_by_text("2 of 2 files, 1 not read").wait_for()
    page.wait_for_selector("#csv:not([disabled])")
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert download.value.suggested_filename == "prompts.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        good, bad = csv.DictReader(file)
    assert good["path"] == "red patch é.jpg"
    assert (good["prompt"], good["error"]) == (EXPECTED, "")
    assert bad["path"] == "notes.png" and "not a picture" in bad["error"]


def test_the_form_words_the_prompt_that_is_shown(page, files):
    choose(page, "#picture", files / "red patch é.jpg")
    page.wait_for_selector(".tfp-words img")
    page.locator("#wording button").first.click()
    page.locator("#template").get_by_role("textbox").fill("{name}: {prompt}")
    prompt = page.locator(".prompt textarea")
    sync_api.expect(prompt).to_have_value(f"red patch é: {EXPECTED}")
    page.locator("#template").get_by_role("textbox").fill("{colour}")
    page.get_by_text("template must have no fields but").wait_for()


def test_a_batch_is_taken_home_with_its_prompts(page, files):
    page.get_by_role("tab", name="Batch").click()
    choose(page, "#files", files / "red patch é.jpg")
    page.locator("#files").get_by_text("red patch").first.wait_for()
    page.locator("#start").click()
    page.wait_for_selector("#zip:not([disabled])")
    with page.expect_download() as download:
        page.locator("#zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["red patch é.txt", "red patch é.jpg"]
        assert archive.read("red patch é.txt").decode() == f"{EXPECTED}\n"


def test_too_large_a_file_is_refused(page, files):
    choose(page, "#picture", files / "big.png")
    page.get_by_text(re.compile("exceed the maximum allowed size")).first.wait_for()
    assert not page.locator(".tfp-words img").count()


def ask(address, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        address + path, data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode()


def call_with_path(address, event, path):
    """Calls the page's event with a payload that names a file by itself."""
    payload = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [payload, *[""] * (len(event["inputs"]) - 1)]
    body = {"data": data, "fn_index": event["id"], "session_hash": "outsider"}
    ask(address, "gradio_api/queue/join", body)
    return ask(address, "gradio_api/queue/data?session_hash=outsider")


def test_files_and_addresses_that_nobody_uploaded_are_not_read(page_address, files):
    config = json.loads(ask(page_address, "config"))
    [picture] = [
        part["id"]
        for part in config["components"]
        if part["props"].get("elem_id") == "picture"
    ]
    [event] = [
        event
        for event in config["dependencies"]
        if [picture, "change"] in event["targets"]
    ]
    outside = str(files / "red patch é.jpg")
    assert '"success":false' in call_with_path(page_address, event, outside)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(page_address, "gradio_api/file=" + urllib.request.pathname2url(outside))

    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}/a.png"
        answer = call_with_path(page_address, event, place)
        server.shutdown()
    assert "Only uploaded files are read" in answer
    assert not asked
