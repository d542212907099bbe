"""From payloads of uploads to what is shown, with a model that costs nothing."""

import ast
import csv
import io
import pathlib

import numpy as np
import PIL.Image
import pytest

from tf_prompt.demo import describing, handlers
from tf_prompt.demo.writers import Written
from tf_prompt.interrogation.interrogator import Interrogated


class ColourWriter:
    """Names the strongest channel of a picture's first pixel."""

    def __init__(self, name="colours"):
        self.name = name
        self.batches = []

    def write(self, image_bytes):
        self.batches.append(len(image_bytes))
        return [[self._name(data), ("a colour", -9.0)] for data in image_bytes]

    def describe(self, data):
        return Written(self.write([data])[0], "cosine")

    def _name(self, data):
        pixel = PIL.Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))
        return ("red", "green", "blue")[np.argmax(pixel)], -0.5


class Phrases:
    """Stands for an interrogator of 16-pixel pictures."""

    class model:
        image_size = 16

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
    assert "notes.png is not a readable image" in shown.message
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
        [(table, csv_path)] = page.write_batch([upload])
        assert "secret.png is not an uploaded file" in table and csv_path is None


def test_a_batch_ends_with_a_csv(folder):
    writer = ColourWriter()
    page = handlers.Handlers(describing.Describer([writer]), folder)
    files = [put(folder, f"{i}.png", "red" if i % 2 else "blue") for i in range(10)]
    files.insert(3, put(folder, "notes.png"))
    states = list(page.write_batch(files))
    assert [path is None for _, path in states] == [True, True, False]
    assert "8 of 11 files" in states[0][0]
    # Of the first eight files one is text.
    assert writer.batches == [7, 3]
    path = pathlib.Path(states[-1][1])
    assert path.name == "prompts.csv" and path.is_relative_to(folder)
    rows = read_rows(path)
    assert list(rows[0]) == ["path", "prompt", "score", "error"]
    assert [row["path"] for row in rows] == [f["orig_name"] for f in files]
    assert rows[0] == {"path": "0.png", "prompt": "blue", "score": "-0.5", "error": ""}
    assert rows[3]["error"].startswith("notes.png is not a readable image")


def test_files_of_one_name_are_told_apart(folder):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder)
    uploads = []
    for number, (name, colour) in enumerate(
        [("1.png", "red"), ("1.png (2)", "lime"), ("1.png", "blue"), ("1.png", None)]
    ):
        (folder / str(number)).mkdir()
        uploads.append(put(folder / str(number), name.split(" ")[0], colour))
        uploads[-1]["orig_name"] = name
    *_, (_, path) = page.write_batch(uploads)
    rows = read_rows(path)
    assert [(row["path"], row["prompt"]) for row in rows] == [
        ("1.png", "red"),
        ("1.png (2)", "green"),
        ("1.png (3)", "blue"),
        ("1.png (4)", ""),
    ]
    assert rows[3]["error"].startswith("1.png (4) is not a readable image")


def test_the_csv_of_two_models_says_which_wrote(folder):
    describer = describing.Describer([ColourWriter("a"), ColourWriter("b")])
    page = handlers.Handlers(describer, folder)
    upload = put(folder, "é.png", "red")
    *_, (_, path) = page.write_batch([upload])
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
    assert kept.prompts == [("red", -0.5)]


@pytest.mark.parametrize("files", [None, []])
def test_a_batch_needs_files(folder, files):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder)
    [(table, path)] = page.write_batch(files)
    assert "Choose images first" in table and path is None


def test_a_batch_has_a_largest_size(folder):
    page = handlers.Handlers(describing.Describer([ColourWriter()]), folder, 2)
    [(table, path)] = page.write_batch([put(folder, "x.png", "red")] * 3)
    assert "At most 2 files at once, not 3." in table and path is None


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
