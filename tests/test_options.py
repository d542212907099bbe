import csv
import dataclasses
import io
import json
import os
import subprocess
import sys

import pytest
import tqdm

from pipelines import beam, download, inspect, write_records
from tf_prompt import evaluate, export, files, fit, interrogate, predict, report, submit
from tf_prompt.data.toy import diffusiondb as toy_files
from tf_prompt.options import (
    WRONG_USE,
    command,
    import_tensorflow,
    option,
    parse_args,
    prepare_environment,
    print_json,
    require_positive,
)
from tf_prompt.runs.config import FitConfig, settings


@dataclasses.dataclass(frozen=True)
class Options:
    """Does nothing."""

    paths: tuple[str, ...] = option(dataclasses.MISSING, "files", positional=True)
    size: int = option(4, "pixels")
    name: str | None = option(None, "of it")
    loud: bool = option(True, "say more")

    def __post_init__(self):
        require_positive(self, "size")


def test_flags_come_from_the_fields():
    options = parse_args(Options, ["a", "b", "--size", "7", "--no-loud"], "prog")
    assert options == Options(paths=("a", "b"), size=7, loud=False)


@pytest.mark.parametrize(
    "given, expected",
    [
        ("~/x", "/home/ann/x"),
        ("~", "/home/ann"),
        ("knn:~/run", "knn:/home/ann/run"),
        ("encoder=~/weights", "encoder=/home/ann/weights"),
        ("~nobody-here/x", "~nobody-here/x"),
        ("./~/x", "./~/x"),
        ("a~b", "a~b"),
        ("http://host/~ann", "http://host/~ann"),
        ("", ""),
    ],
)
def test_home_is_written_out_in_every_text(given, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    options = parse_args(Options, [given, given, f"--name={given}"], "prog")
    assert options == Options(paths=(expected, expected), name=expected)
    assert parse_args(Options, ["a", "--name", given], "prog").name == expected


def test_home_is_written_out_in_repeated_flags(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    argv = ["--run-dir=~/r", "--set=a=~/x", "--members", "knn:~/m", "~/n"]
    options = parse_args(FitConfig, argv, "fit")
    assert options.run_dir == "/home/ann/r" and options.set == ("a=/home/ann/x",)
    assert options.members == ("knn:/home/ann/m", "/home/ann/n")


def test_home_is_written_out_where_a_config_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files.write_json(tmp_path / "c.json", {"preset": "lstm_tiny", "data": "~/shards"})
    options, _ = fit.parse(["--config=~/c.json"])
    assert options.preset == "lstm_tiny" and options.data == str(tmp_path / "shards")


@pytest.mark.parametrize(
    "verb, argv",
    [
        (fit.main, ["--data", "s3://bucket/shards"]),
        (fit.main, ["--run-dir=gs://bucket/run"]),
        (fit.main, ["--members", "knn:s3://bucket/run"]),
        (evaluate.main, ["--run-dir", "s3://bucket/run"]),
        (predict.main, ["--run-dir", "runs/x", "s3a://bucket/a.png"]),
        (predict.main, ["--run-dir", "runs/x", "a.png", "--csv", "gs://bucket/p.csv"]),
        (export.main, ["--run-dir", "runs/x", "--output", "gcs://bucket/models"]),
        (submit.main, ["--run-dir=x", "--images=x", "--output=s3://bucket/s.csv"]),
        (report.main, ["--run-dir", "runs/x", "--output", "hdfs://host/report"]),
        (interrogate.main, ["abfs://container/a.png"]),
        (write_records.main, ["--source", "toy", "--output", "s3://bucket/shards"]),
        (write_records.main, ["--source", "s3://bucket/2m", "--output", "shards"]),
        (inspect.main, ["--source", "toy", "--output", "s3://bucket/plots"]),
        (download.main, ["--parts", "1", "--output", "s3://bucket/2m"]),
        (beam.main, ["--source", "toy", "--output", "gs://bucket/shards"]),
        (toy_files.main, ["--output", "s3://bucket/toy"]),
    ],
)
def test_a_bucket_is_one_line_and_no_folder(verb, argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        verb(argv)
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must be on a disk or a mount" in line and "aws s3 sync" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argv, message",
    [
        (["a", "--size", "-1"], "size must be positive. Received: -1"),
        (["a", "--size", "big"], "invalid int value: 'big'"),
        (["a", "--siz", "3"], "unrecognized arguments: --siz 3"),
        ([], "required: paths"),
    ],
)
def test_bad_flags_are_one_line_and_exit_2(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse_args(Options, argv, "prog")
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("prog: error: ")
    assert message in captured.err


def test_set_reads_python_literals():
    pairs = ["num_heads=4", "conv_filters=(8, 16)", "encoder=conv", "rate=0.5"]
    assert settings(pairs) == {
        "num_heads": 4,
        "conv_filters": (8, 16),
        "encoder": "conv",
        "rate": 0.5,
    }
    with pytest.raises(ValueError, match="set must be NAME=VALUE. Received: num_heads"):
        settings(["num_heads"])


def test_set_may_be_given_again_and_again():
    options = parse_args(FitConfig, ["--set", "a=1", "--set", "b=2"], "fit")
    assert options.set == ("a=1", "b=2")
    assert parse_args(FitConfig, [], "fit") == FitConfig()


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"batch_size": -1}, "batch_size must be positive. Received: -1"),
        ({"epochs": -1}, "epochs must not be negative. Received: -1"),
        ({"erasing_rate": 1.5}, "erasing_rate must be at least 0, below 1"),
        ({"patience": -2}, "patience must not be negative. Received: -2"),
    ],
)
def test_fit_config_checks_its_values(overrides, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**overrides)


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict", "export"])
def test_help_does_not_wait_for_tensorflow(verb):
    code = (
        f"import sys; from tf_prompt.{verb} import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print('tensorflow' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage:")
    assert done.stderr.strip() == "False"


def test_write_json_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_read_json_names_a_damaged_file(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(
        ValueError, match="a JSON file must be whole. Received: .*a.json"
    ):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["weight_decay", "rotation_degrees", "learning_rate"])
def test_no_number_is_no_option(name, capsys):
    with pytest.raises(SystemExit):
        parse_args(FitConfig, [f"--{name.replace('_', '-')}", "nan"], "fit")
    assert f"{name} must" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["{[]: 1}", "(" * 5000, "1" * 5000, "[" * 300])
def test_set_takes_odd_values_as_text(value):
    assert settings([f"a={value}"]) == {"a": value}


def test_json_of_many_brackets_is_damaged(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="a.json"):
        files.read_json(tmp_path / "a.json")


def test_what_tensorflow_finds_in_a_file_is_one_line(capsys):
    import tensorflow as tf

    @command
    def main(argv=None):
        raise tf.errors.DataLossError(None, None, "corrupted record\n at 0")

    assert main() == WRONG_USE
    assert capsys.readouterr().err.endswith("error: corrupted record at 0\n")


def test_a_csv_may_hold_prompts_of_any_length(tmp_path):
    (tmp_path / "a.csv").write_text("word " * 50_000)
    with files.open_csv(tmp_path / "a.csv") as file:
        assert len(next(csv.reader(file))[0]) == 250_000
    (tmp_path / "a.csv").write_bytes(b"a\n\xff")
    with pytest.raises(ValueError, match="must be UTF-8 text. Received: .*a.csv"):
        with files.open_csv(tmp_path / "a.csv") as file:
            list(csv.reader(file))


NAME = "森 🦊 é\udcff.png"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_nothing_printed_ends_a_command(monkeypatch, encoding):
    consoles = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", consoles[0])
    monkeypatch.setattr(sys, "stderr", consoles[1])

    @command
    def main(argv=None):
        print(NAME)
        print_json({"path": NAME})
        for _ in tqdm.tqdm([1, 2], desc=NAME):
            print(NAME, file=sys.stderr)
        raise ValueError(f"paths must be good. Received: {NAME}")

    assert main() == WRONG_USE
    shown, line, _ = consoles[0].buffer.getvalue().decode(encoding).split("\n")
    assert "\\udcff.png" in shown
    assert ("\\u68ee \\U0001f98a" in shown) == (encoding != "utf-8")
    assert json.loads(line) == {"path": NAME}
    consoles[1].flush()
    assert b"paths must be good" in consoles[1].buffer.getvalue()


def test_json_is_readable_where_it_can_be_shown(capsys):
    print_json({"path": "森.png"})
    assert capsys.readouterr().out == '{"path": "森.png"}\n'


@pytest.mark.parametrize(
    "ending, last",
    [("| head -n 1", "0"), ("2>&1 | head -n 1", "0"), (">/dev/full", "No space left")],
)
def test_a_command_ends_quietly_where_nobody_reads_on(ending, last):
    """No traceback, and none of Python's own complaints about a flush."""
    code = (
        "import sys\n"
        "from tf_prompt.options import command\n"
        "@command\n"
        "def main(argv=None):\n"
        "    for number in range(100_000):\n"
        "        print(number)\n"
        "        print(number, file=sys.stderr) if len(sys.argv) > 1 else None\n"
        "sys.exit(main())"
    )
    loud = "x" if "2>&1" in ending else ""
    script = f'{sys.executable} -c "$1" {loud} {ending}; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", code], capture_output=True, text=True
    )
    if ending == ">/dev/full":
        assert done.stdout == "2\n"
        assert done.stderr.count("\n") == 1 and last in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("0\n141\n", "")


def test_metal_is_refused_before_it_ends_the_import(monkeypatch):
    from importlib import metadata

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(metadata, "distributions", lambda name: [name])
    with pytest.raises(ValueError, match="Run: pip uninstall tensorflow-metal"):
        import_tensorflow()


def test_a_terminal_shows_that_tensorflow_is_loaded(monkeypatch, capsys):
    import_tensorflow()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    import_tensorflow()
    line, blanks, rest = capsys.readouterr().err.split("\r")
    assert line == "loading TensorFlow" and blanks == " " * len(line) and rest == ""


def test_memory_of_a_gpu_grows_unless_the_user_says_otherwise(monkeypatch):
    name = "TF_FORCE_GPU_ALLOW_GROWTH"
    monkeypatch.delenv(name, raising=False)
    prepare_environment()
    assert os.environ[name] == "true"
    monkeypatch.setenv(name, "false")
    prepare_environment()
    assert os.environ[name] == "false"
