import dataclasses
import subprocess
import sys

import pytest

from tf_prompt import config, whole_files
from tf_prompt.config import FitConfig, option, parse_args


@dataclasses.dataclass(frozen=True)
class Options:
    """Does nothing."""

    paths: tuple[str, ...] = option(dataclasses.MISSING, "files", positional=True)
    size: int = option(4, "pixels")
    name: str | None = option(None, "of it")
    loud: bool = option(True, "say more")

    def __post_init__(self):
        config.require_positive(self, "size")


def test_flags_come_from_the_fields():
    options = parse_args(Options, ["a", "b", "--size", "7", "--no-loud"], "prog")
    assert options == Options(paths=("a", "b"), size=7, loud=False)


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
    assert config.settings(pairs) == {
        "num_heads": 4,
        "conv_filters": (8, 16),
        "encoder": "conv",
        "rate": 0.5,
    }
    with pytest.raises(ValueError, match="set must be NAME=VALUE. Received: num_heads"):
        config.settings(["num_heads"])


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
    whole_files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        whole_files.write_json(path, {"a": object()})
    assert whole_files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_read_json_names_a_damaged_file(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(
        ValueError, match="a JSON file must be whole. Received: .*a.json"
    ):
        whole_files.read_json(tmp_path / "a.json")
