"""From a run to a LiteRT file, and from the file to prompts without TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

pytest.importorskip("ai_edge_litert", reason="needs tf_prompt[litert]")

from tests import checks  # noqa: E402
from tests.conftest import COLOURS, PLACES, draw_record  # noqa: E402
from tf_prompt import export, predict  # noqa: E402
from tf_prompt.serving.litert import conversion, writer  # noqa: E402

ROOT = pathlib.Path(__file__).parents[3]
# `predict` in a process of its own, which tells what it has imported.
_PROGRAM = """
import sys
from tf_prompt import predict
code = predict.main(sys.argv[1:])
heavy = {"tensorflow", "keras", "keras_hub", "pandas", "torch"} & sys.modules.keys()
print("imported:", sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module", autouse=True)
def _converted_once(loaded_once):
    """Converts the run, the only one here, once for each precision."""
    convert, converted = conversion._convert, {}

    def convert_once(steps, precision):
        if precision not in converted:
            converted[precision] = convert(steps, precision)
        return converted[precision]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "_convert", convert_once)
        yield


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """Files of each precision, by its name."""
    folder = tmp_path_factory.mktemp("litert")
    found = {}
    for precision in ("float32", "int8"):
        argv = ["--run-dir", str(tiny_run), "--output", str(folder), "--to", "litert"]
        assert export.main([*argv, "--precision", precision]) == 0
        found[precision] = folder / f"run-{precision}.tflite"
    return found


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_writes_the_prompts_of_its_run(exported, precision):
    written = writer.LiteRTWriter(exported[precision], num_threads=1)
    pairs = [(colour, place) for colour in COLOURS for place in PLACES]
    found = written([draw_record(*pair, 0).image for pair in pairs])
    prompts = [prompt.decode() for prompt in found["prompt"]]
    assert prompts == [f"a {colour} patch {place}" for colour, place in pairs]
    assert all(-1 < score <= 0 for score in found["score"])


def test_scores_are_those_of_the_run(exported, tiny_run):
    import tf_prompt

    images = [draw_record("red", "top", 0).image]
    found = writer.LiteRTWriter(exported["float32"])(images)
    (prompt,) = tf_prompt.load(tiny_run).predict(images)
    # Pillow decodes JPEG a little differently.
    assert found["score"][0] == pytest.approx(prompt.score, abs=0.01)


def test_int8_is_smaller(exported):
    sizes = {name: path.stat().st_size for name, path in exported.items()}
    assert sizes["int8"] < 0.6 * sizes["float32"]


def test_vocabulary_and_sizes_lie_in_the_file(exported, tiny_run):
    with zipfile.ZipFile(exported["float32"]) as archive:
        config = json.loads(archive.read("config.json"))
        lines = archive.read("vocabulary.txt").decode()
    assert lines == (tiny_run / "vocabulary.txt").read_text()
    assert config["image_size"] == 32 and config["precision"] == "float32"


def test_predict_needs_no_tensorflow(exported, tmp_path):
    (tmp_path / "a.jpg").write_bytes(draw_record("blue", "left", 0).image)
    (tmp_path / "b.png").write_text("no image")
    argv = ["--litert", str(exported["float32"]), "a.jpg", "b.png", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *argv],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == "imported: []"
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["prompt"] == "a blue patch left"
    assert set(second) == {"path", "error"} and "a text file" in second["error"]


def test_an_export_is_replaced_and_other_files_stay(tiny_run, exported, capsys):
    folder = exported["float32"].parent
    other = folder / "mine-float32.tflite"
    other.write_text("not ours")
    argv = ["--run-dir", str(tiny_run), "--output", str(folder), "--to", "litert"]
    assert export.main([*argv, "--name", "mine"]) == 2
    assert "must not hold another file" in capsys.readouterr().err
    assert other.read_text() == "not ours"
    other.unlink()
    assert export.main(argv) == 0
    assert capsys.readouterr().out.strip() == str(exported["float32"])
    assert {path.suffix for path in folder.iterdir()} == {".tflite"}


@pytest.mark.parametrize(
    "main, argv, message",
    [
        (predict.main, ["--litert", "absent", "x.png"], "litert must be a file of"),
        (predict.main, ["--litert", "x.png", "x.png"], "litert must be a file that"),
        (
            predict.main,
            ["--litert", "f", "x.png", "--num-beams", "2"],
            "a LiteRT file decodes greedily",
        ),
        (
            predict.main,
            ["--litert", "f", "--run-dir", "r", "x.png"],
            "one of --run-dir",
        ),
        (export.main, ["--run-dir", "r", "--precision", "int8"], "needs --to litert"),
        (
            export.main,
            ["--run-dir", "r", "--to", "litert", "--keep", "2"],
            "keep needs --to saved_model",
        ),
    ],
)
def test_wrong_use_is_one_line(main, argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(draw_record("red", "top", 0).image)
    assert checks.exit_code(main, argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1


def test_a_file_that_is_cut_off_is_told(exported, tmp_path):
    content = exported["float32"].read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="litert must be a file that"):
        writer.LiteRTWriter(tmp_path / "cut.tflite")
