"""From payloads of uploads to what is shown, with a model that costs nothing."""

import ast
import csv
import io
import json
import pathlib
import zipfile

import numpy as np
import PIL.Image
import pytest

from tests.data import generated_files
from tf_prompt.data.embedded import read_embedded
from tf_prompt.demo import describing, handlers
from tf_prompt.demo.writers import Written
from tf_prompt.interrogation.interrogator import Interrogated


class ColourWriter:
    """Names the strongest channel of a picture's first pixel."""

    score_field, tables, count, is_ready = "score", (), None, True

    def __init__(self, name="colours"):
        self.name = name
        self.batches = []

    def results(self, image_bytes):
        self.batches.append(len(image_bytes))
        named = map(self._name, image_bytes)
        return [{"prompt": colour, "score": score} for colour, score in named]

    def describe(self, data):
        return Written([self._name(data), ("a colour", -9.0)], "cosine")

    def _name(self, data):
        pixel = PIL.Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))
        return ("red", "green", "blue")[np.argmax(pixel)], -0.5


class Phrases:
    """Stands for an interrogator of 16-pixel pictures."""

    def decode(self, data):
        return np.zeros((16, 16, 3), np.uint8)

    def __call__(self, pictures):
        assert pictures.shape == (1, 16, 16, 3)
        return [Interrogated("a prompt", 0.5, {"media": [("an etching", 0.25)]})]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


def put(folder, name, colour=None):
    path = folder / name
    if colour is None:
        path.write_text("this is text\n")
    else:
        PIL.Image.new("RGB", (8, 8), colour).save(path)
    return {"path": str(path), "orig_name": name}


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_picture_gives_prompts_and_phrases(folder):
    describer = describing.Describer([ColourWriter("a"), ColourWriter("b")], Phrases())
    shown = handlers.Handlers(describer, folder).show(put(folder, "x.png", "lime"))
    assert [prompt for prompt, _ in shown.models] == ["green", "green"]
    assert "a colour" in shown.models[1][1]
    assert "an etching" in shown.phrases
    assert not shown.message and not shown.is_error


def test_no_picture_gives_a_hint(folder):
    shown = handlers.Handlers(describing.Describer([ColourWriter()]), folder).show(None)
    assert handlers.HINT in shown.message
    assert not shown.models and not shown.is_error


def test_text_named_png_gives_a_message(folder):
    describer = describing.Describer([ColourWriter()])
    shown = handlers.Handlers(describer, folder).show(put(folder, "notes.png"))
    assert "notes.png is not a picture" in shown.message
    assert shown.is_error and not shown.models


def test_no_file_outside_the_uploads_is_read(folder):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder)
    outside = put(folder.parent, "secret.png", "red")
    (folder / "link.png").symlink_to(outside["path"])
    for path in (
        outside["path"],
        str(folder / ".." / "secret.png"),
        str(folder / "link.png"),
        str(folder),
        "",
        None,
    ):
        upload = {"path": path, "orig_name": "secret.png"}
        shown = page.show(upload)
        assert "secret.png is not an uploaded file" in shown.message
        [(table, paths)] = page.write_batch([upload])
        assert "secret.png is not an uploaded file" in table and paths is None


def test_a_batch_ends_with_a_csv(folder):
    writer = ColourWriter()
    page = handlers.Handlers(describing.Describer([writer]), folder)
    files = [put(folder, f"{i}.png", "red" if i % 2 else "blue") for i in range(10)]
    files.insert(3, put(folder, "notes.png"))
    states = list(page.write_batch(files))
    assert [paths is None for _, paths in states] == [True, True, False]
    assert "8 of 11 files" in states[0][0]
    # Of the first eight files one is text.
    assert writer.batches == [7, 3]
    path, *others = map(pathlib.Path, states[-1][1])
    assert path.name == "prompts.csv" and path.is_relative_to(folder)
    assert [other.name for other in others] == ["prompts.jsonl", "prompts.zip"]
    rows = read_rows(path)
    # As predict --csv has them.
    names = ["path", "prompt", "score", "error", "embedded_prompt"]
    assert list(rows[0])[:5] == names
    assert [row["path"] for row in rows] == [f["orig_name"] for f in files]
    assert [rows[0][name] for name in names] == ["0.png", "blue", "-0.5", "", ""]
    assert rows[3]["error"].startswith("notes.png is not a picture")


def test_files_of_one_name_are_told_apart(folder):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder)
    uploads = []
    for number, (name, colour) in enumerate(
        [("1.png", "red"), ("1 (2).png", "lime"), ("1.png", "blue"), ("1.png", None)]
    ):
        (folder / str(number)).mkdir()
        uploads.append(put(folder / str(number), "1.png", colour))
        uploads[-1]["orig_name"] = name
    *_, (_, (path, *_)) = page.write_batch(uploads)
    rows = read_rows(path)
    assert [(row["path"], row["prompt"]) for row in rows] == [
        ("1.png", "red"),
        ("1 (2).png", "green"),
        ("1 (3).png", "blue"),
        ("1 (4).png", ""),
    ]
    assert rows[3]["error"].startswith("1 (4).png is not a picture")


def test_the_csv_of_two_models_says_which_wrote(folder):
    describer = describing.Describer([ColourWriter("a"), ColourWriter("b")])
    page = handlers.Handlers(describer, folder)
    upload = put(folder, "é.png", "red")
    *_, (_, (path, *_)) = page.write_batch([upload])
    rows = read_rows(path)
    assert [(row["path"], row["model"], row["prompt"]) for row in rows] == [
        ("é.png", "a", "red"),
        ("é.png", "b", "red"),
    ]


def test_a_file_that_vanished_costs_nobody_else(folder):
    def vanish():
        raise FileNotFoundError(2, "No such file or directory")

    sound = pathlib.Path(put(folder, "x.png", "red")["path"])
    describer = describing.Describer([ColourWriter()])
    files = [("gone.png", vanish), ("x.png", sound.read_bytes)]
    [[gone, kept]] = describer.write(files)
    assert gone.error == "gone.png: No such file or directory"
    assert kept.results == [{"path": "x.png", "prompt": "red", "score": -0.5}]


def values_of(page, **given):
    """The form as a visitor leaves it who fills in some fields."""
    return [given.get(field.name, field.default) for field in page.fields]


def test_what_a_file_says_is_shown_apart(folder):
    (folder / "x.png").write_bytes(generated_files.FILES["a1111-png"][0])
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder)
    upload = {"path": str(folder / "x.png"), "orig_name": "x.png"}
    shown = page.show(upload)
    assert "The file itself says" in shown.embedded
    assert "&lt;lora:ink:0.8&gt;" in shown.embedded and "965400086" in shown.embedded
    assert page.show(put(folder, "y.png", "red")).embedded == ""
    *_, (table, (path, *_)) = page.write_batch([upload])
    assert "a castle at dusk" in table
    assert read_rows(path)[0]["embedded_seed"] == "965400086"


def test_the_form_words_prompts_and_no_model_runs_for_that(folder):
    writer = ColourWriter()
    page = handlers.Handlers(describing.Describer([writer]), folder)
    form = values_of(page, template="{name}: {prompt}, b, c", exclude="B\n", suffix="!")
    upload = put(folder, "x.png", "red")
    shown = page.show(upload, form)
    assert [prompt for prompt, _ in shown.models] == ["x: red, c!"]
    writer.describe = None
    form = values_of(page, replace="red=blue\n blue = x")
    assert page.reword(shown.results, form) == ("", ["blue"])
    message, prompts = page.reword(shown.results, values_of(page, template="{media}"))
    assert "template must have no fields but prompt, score, name" in message
    assert prompts == ["red"]
    [(table, paths)] = page.write_batch([upload], values_of(page, replace="x"))
    assert "replace must be A=B" in table and paths is None


def test_tokens_are_counted_where_a_clip_is(folder):
    clip = ColourWriter()
    clip.count = lambda texts: [2 + len(text.split()) for text in texts]
    pages = [
        handlers.Handlers(describing.Describer(models), folder)
        for models in ([ColourWriter()], [clip])
    ]
    assert [page.fields[-1].name for page in pages] == ["separator", "max_clip_tokens"]
    form = values_of(pages[1], template="{prompt}, a b c, d", max_clip_tokens=6)
    shown = pages[1].show(put(folder, "x.png", "red"), form)
    assert shown.models[0][0] == "red, a b c"


def test_a_batch_is_taken_home_with_its_prompts(folder):
    describer = describing.Describer([ColourWriter()])
    page = handlers.Handlers(describer, folder)
    files = [put(folder, name, "red") for name in ("1.png", "1.jpg", "x.gif")]
    files += [put(folder, "notes.png")]
    *_, (_, paths) = page.write_batch(files, values_of(page, prefix="> "))
    lines = pathlib.Path(paths[1]).read_text().splitlines()
    assert json.loads(lines[0]) == {"path": "1.png", "prompt": "> red", "score": -0.5}
    with zipfile.ZipFile(paths[2]) as archive:
        # A GIF can hold no prompt.
        assert archive.namelist() == ["1.txt", "1.png", "1 (2).txt", "1 (2).jpg"] + [
            "x.txt"
        ]
        assert archive.read("1 (2).txt") == b"> red\n"
        assert read_embedded(archive.read("1.png")).prompt == "> red"


def test_each_model_has_a_folder_in_the_archive(folder):
    models = [ColourWriter("a/b"), ColourWriter("c")]
    page = handlers.Handlers(describing.Describer(models), folder)
    *_, (_, paths) = page.write_batch([put(folder, "x.png", "red")])
    with zipfile.ZipFile(paths[2]) as archive:
        names = archive.namelist()
    assert names == ["a_b/x.txt", "a_b/x.png", "c/x.txt", "c/x.png"]


@pytest.mark.parametrize("files", [None, []])
def test_a_batch_needs_files(folder, files):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder)
    [(table, path)] = page.write_batch(files)
    assert "Choose pictures first" in table and path is None


def test_a_batch_has_a_largest_size(folder):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder, 2)
    [(table, path)] = page.write_batch([put(folder, "x.png", "red")] * 3)
    assert "At most 2 files at once; here are 3." in table and path is None


def test_names_lose_their_folders():
    assert handlers.name_of({"orig_name": "C:\\me\\a.png"}) == "a.png"
    assert handlers.name_of({"path": "uploads/x/b.png"}) == "b.png"
    assert handlers.name_of({}) == "the file"


def test_only_the_page_needs_gradio():
    folder = pathlib.Path(handlers.__file__).parent
    users = {
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and node.names[0].name == "gradio"
    }
    assert users == {"page.py"}
