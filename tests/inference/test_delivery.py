"""The one way out of predict and interrogate, and what files say beside it."""

import csv
import json
import math

import numpy as np
import PIL.Image
import pytest

from tests import checks
from tests.data.generated_files import FILES, plain
from tf_prompt import interrogate, predict
from tf_prompt.data import images
from tf_prompt.inference import image_files
from tf_prompt.inference.delivery import flatten

pytestmark = pytest.mark.usefixtures("loaded_once")

SETTINGS = ["negative_prompt", "seed", "steps", "model"]


class Colours:
    """Writes of each image that it is one, and how bright; counts what it saw."""

    def __init__(self):
        self.num_seen = 0

    def __call__(self, image_bytes):
        self.num_seen += len(image_bytes)
        means = [np.mean(images.decode_image(data, 4)) for data in image_bytes]
        prompts = [b"a picture, bright, by nobody"] * len(means)
        return {"prompt": prompts, "score": np.array(means)}


@pytest.fixture
def writer(monkeypatch):
    """What `predict` loads in place of a model."""
    writer = Colours()
    monkeypatch.setattr(predict, "_load", lambda options, decoding: (writer, None))
    return writer


@pytest.fixture
def folder(tmp_path):
    """An image that says its prompt in a folder, and one that says nothing."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.png").write_bytes(FILES["a1111-png"][0])
    (tmp_path / "in" / "b.jpg").write_bytes(plain("JPEG"))
    return tmp_path / "in"


def run(capsys, *argv, main=predict.main, model=("--run-dir", "r")):
    code = checks.exit_code(main, [*map(str, argv), *model])
    return code, *capsys.readouterr()


def test_what_files_say_is_a_field_of_its_own(writer, folder, capsys):
    code, out, _ = run(capsys, folder, "--recursive", "--json")
    said_none, said = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert set(said_none) == {"path", "prompt", "score"}
    assert said["prompt"] == "a picture, bright, by nobody"
    expected = dict(zip(["prompt", *SETTINGS], FILES["a1111-png"][1], strict=True))
    assert said["embedded"] == expected
    code, out, _ = run(capsys, folder, "--recursive", "--json", "--embedded", "off")
    assert "embedded" not in out


def test_text_shows_what_files_say_below(writer, folder, capsys):
    _, out, _ = run(capsys, folder / "deep")
    first, *rest = out.splitlines()
    assert first == f"{folder}/deep/a.png\ta picture, bright, by nobody"
    # On one line, though it has two.
    assert rest[0] == (
        "    embedded prompt: a castle at dusk, (oil on canvas:1.2), "
        "<lora:ink:0.8> by a lake"
    )
    assert "    embedded seed: 965400086" in rest and len(rest) == 5


@pytest.mark.parametrize("main", [predict.main, interrogate.main])
def test_only_what_files_say_needs_no_model(
    main, folder, tmp_path, capsys, monkeypatch
):
    def refuse(*_):
        raise AssertionError("TensorFlow is not needed")

    for module in (predict, interrogate):
        monkeypatch.setattr(module, "import_tensorflow", refuse)
    (tmp_path / "none.txt").write_text("no image")
    argv = [folder, tmp_path / "none.txt", "--recursive", "--embedded", "only"]
    argv += ["--sidecar", "--csv", tmp_path / "t.csv", "--exclude", "castle"]
    code, out, err = run(capsys, *argv, main=main, model=())
    assert code == 1
    prompt = "a at dusk, (oil on canvas:1.2), <lora:ink:0.8>\nby a lake"
    assert out.splitlines()[0] == f"{folder}/deep/a.png\t{prompt}".replace("\n", " ")
    assert f"{folder}/b.jpg: the file's metadata has no prompt" in err
    assert (folder / "deep" / "a.txt").read_text() == f"{prompt}\n"
    assert not (folder / "b.txt").exists()
    with open(tmp_path / "t.csv", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert rows[f"{folder}/deep/a.png"]["prompt"] == prompt
    assert rows[f"{folder}/deep/a.png"]["embedded_prompt"] == FILES["a1111-png"][1][0]
    assert "score" not in rows[f"{folder}/b.jpg"] and len(rows) == 3


def test_a_model_is_required_for_more(capsys):
    code, _, err = run(capsys, "x.png", model=())
    assert code == 2 and "one of --run-dir, --saved-model, --server" in err


def test_columns_of_a_csv_are_those_that_are_promised(writer, folder, tmp_path, capsys):
    table = tmp_path / "t.csv"
    run(capsys, folder, "--recursive", "--csv", table)
    with open(table, newline="") as file:
        none, said = csv.DictReader(file)
    names = ["path", "prompt", "score", "error", "embedded_prompt"]
    assert list(said) == names + [f"embedded_{name}" for name in SETTINGS]
    assert said["embedded_seed"] == "965400086" and none["embedded_prompt"] == ""
    run(capsys, folder, "--recursive", "--csv", table, "--embedded", "off")
    assert table.read_text().startswith("path,prompt,score,error\n")


def test_a_row_of_phrases_has_a_column_a_table():
    result = {
        "path": "a.png",
        "prompt": "x",
        "similarity": 0.5,
        "phrases": {"media": [["oil", 0.2], ["ink", 0.1]], "prompt": [["y", 0.1]]},
        "embedding": [0.0],
    }
    columns = ["path", "prompt", "similarity", "phrases_media", "phrases_prompt"]
    assert flatten(result, columns) == {
        "path": "a.png",
        "prompt": "x",
        "similarity": 0.5,
        "phrases_media": "oil; ink",
        "phrases_prompt": "y",
    }


def test_every_way_out_has_the_same_wording(writer, folder, tmp_path, capsys):
    out = tmp_path / "out"
    argv = [folder, "--recursive", "--jsonl", tmp_path / "t.jsonl", "--sidecar"]
    argv += ["--csv", tmp_path / "t.csv", "--write-metadata", out]
    argv += ["--template", "{embedded}, {prompt}", "--exclude", "bright"]
    argv += ["--replace", "nobody=me", "--append", "8k", "--prefix", "> "]
    code, printed, _ = run(capsys, *argv)
    text = "> a picture, by me, 8k"
    assert code == 0 and printed.startswith(f"{folder}/b.jpg\t{text}\n")
    rows = [json.loads(x) for x in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert rows[0]["prompt"] == text
    assert rows[1]["prompt"].startswith("> a castle at dusk, (oil on canvas:1.2), ")
    with open(tmp_path / "t.csv", newline="") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == [
            row["prompt"] for row in rows
        ]
    assert (folder / "b.txt").read_text() == f"{text}\n"
    with PIL.Image.open(out / "b.jpg") as image:
        assert image.getexif()[0x010E] == text
    with PIL.Image.open(out / "deep" / "a.png") as image:
        assert image.info["Description"] == rows[1]["prompt"]
        # Copies keep what the file said.
        assert image.info["parameters"].startswith("a castle at dusk")


def test_a_killed_table_goes_on_with_the_same_wording_only(
    writer, folder, tmp_path, capsys, monkeypatch
):
    table = tmp_path / "t.csv"
    argv = [folder, "--recursive", "--csv", table, "--append", "8k"]

    def stop_behind_first(*arguments):
        yield next(predict_files(*arguments))
        raise KeyboardInterrupt

    predict_files = image_files.predict
    monkeypatch.setattr(image_files, "predict", stop_behind_first)
    assert run(capsys, *argv)[0] == 130 and not table.exists()
    monkeypatch.setattr(image_files, "predict", predict_files)
    writer.num_seen = 0
    assert run(capsys, *argv)[0] == 0
    assert writer.num_seen == 1 and table.read_text().count("8k") == 2
    monkeypatch.setattr(image_files, "predict", stop_behind_first)
    run(capsys, *argv)
    monkeypatch.setattr(image_files, "predict", predict_files)
    writer.num_seen = 0
    run(capsys, *argv[:-1], "4k")
    assert writer.num_seen == 2 and "8k" not in table.read_text()


def test_where_all_have_their_text_nothing_is_loaded_or_replaced(
    writer, folder, tmp_path, capsys, monkeypatch
):
    argv = [folder, "--recursive", "--csv", tmp_path / "t.csv", "--skip-existing"]
    assert run(capsys, *argv, "--sidecar")[0] == 0
    before = (tmp_path / "t.csv").read_bytes()
    monkeypatch.setattr(predict, "_load", None)
    assert run(capsys, *argv) == (0, "", "")
    assert (tmp_path / "t.csv").read_bytes() == before


@pytest.mark.parametrize(
    "argv, reason",
    [
        (["--template", "{media}"], "no fields but prompt, score, name, embedded"),
        (["--template", "{"], "template must be text with fields in braces"),
        (["--replace", "x"], "replace must be A=B. Received: x"),
        (["--max-clip-tokens", "1"], "max_clip_tokens must be at least 3"),
        (
            ["--max-clip-tokens", "9", "--clip-tokenizer", "."],
            "max_clip_tokens needs CLIP's tokenizer",
        ),
        (["--embedded", "maybe"], "invalid choice: 'maybe'"),
    ],
)
def test_wrong_wording_is_one_line(writer, folder, capsys, argv, reason):
    code, out, err = run(capsys, folder / "b.jpg", *argv)
    assert (code, out) == (2, "") and reason in err and err.count("\n") == 1
    assert writer.num_seen == 0


@pytest.fixture
def twins(tmp_path):
    """Each program's file, and beside it one of equal pixels that says nothing."""
    kinds = {b"\x89P": "PNG", b"\xff\xd8": "JPEG", b"RI": "WEBP"}
    for name, (data, _) in FILES.items():
        kind = kinds[data[:2]]
        (tmp_path / f"{name}.{kind.lower()}").write_bytes(data)
        (tmp_path / f"{name}-plain.{kind.lower()}").write_bytes(plain(kind))
    return tmp_path


def test_a_model_never_sees_what_files_say(tiny_run, twins, capsys):
    model, found = ("--run-dir", str(tiny_run)), []
    for how in ("show", "off"):
        _, out, _ = run(capsys, twins, "--json", "--embedded", how, model=model)
        rows = [json.loads(line) for line in out.splitlines()]
        found += [(row["path"], row["prompt"], row["score"]) for row in rows]
        assert sum("embedded" in row for row in rows) == len(FILES) * (how == "show")
    assert len(found) == 4 * len(FILES)
    assert found[: len(found) // 2] == found[len(found) // 2 :]
    results = {path.rpartition("/")[2]: rest for path, *rest in found}
    for name, result in results.items():
        if "-plain" not in name:
            stem, _, ending = name.rpartition(".")
            assert result == results[f"{stem}-plain.{ending}"]
            assert not math.isnan(result[1])
