import base64
import dataclasses
import html.parser
import io
import json
import re
import shutil
import subprocess
import urllib.request

import numpy as np
import PIL.Image
import pytest

from tf_prompt.data import images
from tf_prompt.evaluation import gallery

JPEG = images.encode_jpeg(np.full((8, 8, 3), 90, np.uint8))
HOSTILE = (
    """<script>document.title = "hacked"</script> "quoted" 'single' &amp; $title"""
)
RIGHT_TO_LEFT = "קשת בענן 🌈 مرحبا"


def entry(image_id, reference, prediction, **scores):
    return gallery.Entry(
        JPEG, image_id, reference, {"lstm": prediction}, {"lstm": scores}
    )


class Page(html.parser.HTMLParser):
    """Collects the tags of a page, and the text and marked words of its prompts."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.prompts, self.marked = [], [], []
        self.inside, self.marking = False, False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if dict(attributes).get("class") == "prompt":
            self.inside = True
            self.prompts.append("")
        self.marking = self.inside and tag == "mark"

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "p"
        self.marking = False

    def handle_data(self, data):
        if self.inside:
            self.prompts[-1] += data
        if self.marking:
            self.marked.append(data)


def test_prompts_survive_escaping(tmp_path):
    path = tmp_path / "gallery.html"
    entries = [entry('"><b>.jpg', HOSTILE, RIGHT_TO_LEFT, word_f1=0.0)]
    gallery.write_gallery(path, entries, "<i>Title</i> $count")
    page = Page(path)
    assert page.prompts == [HOSTILE, RIGHT_TO_LEFT]
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert not {"b", "i"} & set(tags)
    assert "<title>&lt;i&gt;Title&lt;/i&gt; $count</title>" in path.read_text("utf-8")
    assert [path.name] == [file.name for file in tmp_path.iterdir()]


def test_words_in_common_are_marked_in_runs(tmp_path):
    path = tmp_path / "gallery.html"
    entries = [entry("1", "a red cat at night", "one red cat in a night")]
    gallery.write_gallery(path, entries, "Title")
    assert Page(path).marked == ["a red cat", "night", "red cat", "a night"]


def test_page_holds_its_images_and_loads_nothing(tmp_path):
    path = tmp_path / "gallery.html"
    gallery.write_gallery(path, [entry("1", "a cat", "")], "Title")
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"https?:|//\w|@import|url\(", re.sub(r'base64,[^"]*', "", text)
    )
    page = Page(path)
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert (
        base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,")) == JPEG
    )
    assert image["loading"] == "lazy"
    assert all("src" not in a and "href" not in a for t, a in page.tags if t != "img")
    assert "no words" in text
    assert "<form hidden>" in text


def test_each_word_stands_under_what_it_looked_at(tmp_path):
    path = tmp_path / "gallery.html"
    looks = [bytes([90 + i]) * 9 for i in range(3)]
    shown = entry("1", "a cat", 'a "b" <c>')
    shown = dataclasses.replace(shown, attention={"lstm": looks})
    gallery.write_gallery(path, [shown, entry("2", "a", "a")], "Title", "A <note>")
    text = path.read_text(encoding="utf-8")
    (details,) = re.findall("<details>(.*?)</details>", text, re.DOTALL)
    assert "Where <bdi>the model</bdi> looked</summary>" in details
    found = re.findall(
        'webp;base64,(.*?)" alt="(.*?)".*?<span.*?>(.*?)</span>', details
    )
    assert [base64.b64decode(picture) for picture, _, _ in found] == looks
    words = ["a", "&quot;b&quot;", "&lt;c&gt;"]
    assert [alt for _, alt, _ in found] == [f"Where it looked for “{w}”" for w in words]
    assert [word for _, _, word in found] == words
    assert "<p>A &lt;note&gt;</p>" in text and 'name="only"' in text
    gallery.write_gallery(path, [entry("2", "a", "a")], "Title")
    assert not re.search('<details|name="only"', path.read_text(encoding="utf-8"))


def test_a_word_without_its_picture_is_refused(tmp_path):
    shown = entry("1", "a cat", "a cat")
    shown = dataclasses.replace(shown, attention={"lstm": [JPEG]})
    with pytest.raises(ValueError, match="zip"):
        gallery.write_gallery(tmp_path / "gallery.html", [shown], "Title")


def test_failed_write_keeps_the_old_page(tmp_path):
    path = tmp_path / "gallery.html"
    path.write_text("old")
    with pytest.raises(TypeError):
        gallery.write_gallery(path, [entry("1", "a", "a", word_f1="?")], "Title")
    assert path.read_text() == "old"


def test_scores_that_are_no_number_are_null(tmp_path):
    path = tmp_path / "gallery.html"
    scores = {"word_f1": float("nan"), "score": -0.5}
    gallery.write_gallery(path, [entry("1", "a", "b", **scores)], "Title")
    (card,) = [attributes for tag, attributes in Page(path).tags if tag == "article"]
    assert json.loads(card["data-scores"]) == [None, -0.5]
    assert re.findall("<dd>(.*?)</dd>", path.read_text("utf-8")) == ["–", "−0.5"]


def test_per_example_scores_by_hand():
    rows = [
        {"reference": "a red cat", "prediction": "a red cat", "score": "-0.5"},
        # Precisions 3/4, (1+1)/(3+1), (0+1)/(2+1), (0+1)/(1+1).
        {"reference": "a red cat sat", "prediction": "a red dog sat", "score": -1},
        {"reference": "a cat", "prediction": "", "score": 0},
        {"reference": "", "prediction": "", "score": 0},
    ]
    found = gallery.per_example_scores(rows)
    assert [row["word_f1"] for row in found] == [100, 75, 0, 100]
    bleu = 100 * (3 / 4 * 2 / 4 * 1 / 3 * 1 / 2) ** 0.25
    assert [r["sentence_bleu"] for r in found] == pytest.approx([100, bleu, 0, 0])
    assert [row["score"] for row in found] == [-0.5, -1, 0, 0]


def row(image_id, prediction, reference="a cat"):
    return {
        "image_id": image_id,
        "reference": reference,
        "prediction": prediction,
        "score": -1.0,
    }


def test_entries_join_models_by_image():
    rows = {
        "lstm": [row("1", "a cat"), row("2", "a dog"), row("3", "not shown")],
        "transformer": [row("2", "two cats"), row("1", "a bird")],
    }
    entries = gallery.entries_of(rows, {"2": b"second", "1": b"first"})
    assert [(e.image_id, e.image) for e in entries] == [
        ("2", b"second"),
        ("1", b"first"),
    ]
    assert entries[1].predictions == {"lstm": "a cat", "transformer": "a bird"}
    assert entries[1].scores["lstm"]["word_f1"] == 100
    assert entries[1].scores["transformer"]["word_f1"] == 50


def test_entries_need_a_row_for_each_image():
    with pytest.raises(ValueError, match="rows of lstm.*no row of 2, 1 missing"):
        gallery.entries_of({"lstm": [row("1", "a")]}, {"1": JPEG, "2": JPEG})
    with pytest.raises(ValueError, match="at least one model"):
        gallery.entries_of({}, {"1": JPEG})


def test_attention_goes_to_its_picture_and_model():
    rows = {"lstm": [row("1", "a cat")], "transformer": [row("1", "a dog")]}
    looks = {"transformer": {"1": [b"a", b"dog"], "2": [b"not shown"]}, "lstm": {}}
    (joined,) = gallery.entries_of(rows, {"1": JPEG}, looks)
    assert joined.attention == {"transformer": [b"a", b"dog"]}


def test_entries_refuse_two_references():
    rows = {"lstm": [row("1", "a")], "transformer": [row("1", "a", "a dog")]}
    with pytest.raises(ValueError, match="one reference. Received: .'a cat', 'a dog'"):
        gallery.entries_of(rows, {"1": JPEG})


class Browser:
    """Drives headless Chromium by the WebDriver protocol, with no package."""

    def __init__(self, port, binary):
        self.url = f"http://127.0.0.1:{port}/session"
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        arguments += ["--disable-background-networking", "--disable-component-update"]
        options = {"binary": binary, "args": arguments}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        self.url += "/" + self.post("", capabilities=capabilities)["sessionId"]

    def post(self, command, **body):
        request = urllib.request.Request(
            self.url + command,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["value"]

    def run(self, script):
        return self.post("/execute/sync", script=script, args=[])

    def press(self, keys):
        """Sends keys to whatever has the focus; Tab is "\\ue004"."""
        pairs = [[{"type": t, "value": k} for t in ("keyDown", "keyUp")] for k in keys]
        actions = [action for pair in pairs for action in pair]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.post("/actions", actions=[keyboard])

    def choose(self, name, value):
        self.run(
            f"const field = document.forms[0].elements.{name};"
            f"field.value = {json.dumps(value)};"
            "field.dispatchEvent(new Event('change'))"
        )

    def shown(self):
        return self.run(
            "return [...document.querySelectorAll('article')]"
            ".filter((card) => card.checkVisibility())"
            ".map((card) => card.querySelector('figcaption').textContent)"
        )

    def close(self):
        request = urllib.request.Request(self.url, method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def browser():
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    command = [driver, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "")
        ports = (re.search(r"successfully on port (\d+)", line) for line in lines)
        try:
            browser = Browser(next(filter(None, ports))[1], chromium)
            yield browser
            browser.close()
        finally:
            process.terminate()


@pytest.fixture
def opened(browser, tmp_path):
    entries = [
        entry("middle", "a red cat", "a RED dog", word_f1=66.7, score=-2.0),
        entry("no score", HOSTILE, RIGHT_TO_LEFT, word_f1=float("nan")),
        entry("best", "a blue cat", "a blue cat", word_f1=100.0, score=-0.5),
        entry("worst", "a green cat", "", word_f1=9.0, score=-1.0),
    ]
    path = tmp_path / "gallery.html"
    gallery.write_gallery(path, entries, "Title")
    browser.post("/url", url=path.as_uri())
    return browser


def count_of(browser):
    return browser.run("return document.querySelector('.count').textContent")


def test_browser_sorts_both_ways(opened):
    assert opened.shown() == ["middle", "no score", "best", "worst"]
    opened.choose("sort", "0")
    assert opened.shown() == ["worst", "middle", "best", "no score"]
    opened.choose("order", "descending")
    assert opened.shown() == ["best", "middle", "worst", "no score"]
    opened.choose("sort", "1")
    assert opened.shown() == ["best", "worst", "middle", "no score"]
    opened.choose("sort", "")
    assert opened.shown() == ["worst", "best", "no score", "middle"]


def test_browser_filters_by_keyboard(opened):
    opened.press("\ue004red")
    assert opened.shown() == ["middle"]
    assert count_of(opened) == "1 of 4 images"
    opened.press("\ue003\ue003\ue003Cat")
    assert opened.shown() == ["middle", "best", "worst"]
    opened.press("\ue003\ue003\ue003מרחבא")
    assert opened.shown() == []
    opened.press("\ue003" * 5 + "🌈")
    assert opened.shown() == ["no score"]


def test_browser_opens_attention_by_keyboard(browser, tmp_path):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (12, 12)).save(buffer, "webp")
    shown = dataclasses.replace(
        entry("looked", "a red cat", "red cat"),
        attention={"lstm": [buffer.getvalue()] * 2},
    )
    path = tmp_path / "gallery.html"
    gallery.write_gallery(path, [entry("plain", "a cat", "a"), shown], "Title")
    browser.post("/url", url=path.as_uri())
    image = "document.querySelector('details img')"
    assert not browser.run(f"return {image}.checkVisibility()")
    # Filter, sort, order, checkbox.
    browser.press("\ue004\ue004\ue004\ue004 ")
    assert browser.shown() == ["looked"]
    assert count_of(browser) == "1 of 2 images"
    browser.press(" ")
    assert browser.shown() == ["plain", "looked"]
    browser.press("\ue004\ue007")
    assert browser.run(f"return {image}.checkVisibility()")
    loaded = f"const i = {image}; await i.decode(); return i.naturalWidth"
    assert browser.run(f"return (async () => {{ {loaded} }})()") == 12
    browser.press("\ue007")
    assert not browser.run(f"return {image}.checkVisibility()")


def test_browser_runs_nothing_from_a_prompt(opened):
    assert opened.run("return document.title") == "Title"
    prompts = opened.run(
        "return [...document.querySelectorAll('.prompt')].map((p) => p.textContent)"
    )
    assert HOSTILE in prompts and RIGHT_TO_LEFT in prompts
    assert opened.run("return getComputedStyle(document.images[0]).display") == "block"
    assert opened.run("return document.images[0].naturalWidth") == 8
