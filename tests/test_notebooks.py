"""The notebooks are whole, say only what the commands understand, and run."""

import importlib
import os
import pathlib
import re
import shlex
import sys

import pytest

from tf_prompt import fit, options
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import recipes

nbformat = pytest.importorskip("nbformat")

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["01_quickstart", "02_diffusiondb", "03_kaggle_submission"]
REPOSITORY = "github.com/tf-prompt/tf_prompt"
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root|tmp|Users|mnt)\b")
COMMAND = re.compile(r"^\s*!?python -m (?!nltk)(\S+)\s*((?:.*\\\n)*.*)$", re.MULTILINE)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
first_notebook, *others = NOTEBOOKS


def read(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def text_of(path):
    return "\n".join(cell.source for cell in read(path).cells)


def settings_of(path):
    """Runs the cell of settings, as it stands in the notebook."""
    cells = [c for c in read(path).cells if "settings" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    values = {}
    exec(cells[0].source, values)
    return values


def commands_of(path, names):
    """Yields each command of a notebook: its module, and its arguments."""
    text = text_of(path)
    found = [m.groups() for m in COMMAND.finditer(text)]
    # A command that the pattern overlooked would go unchecked.
    assert len(found) == len(re.findall("python -m (?:tf_prompt|pipelines)", text))
    for module, arguments in found:
        filled = re.sub(r"{(.+?)}", lambda m: str(eval(m[1], names)), arguments)
        yield module, shlex.split(filled.replace("\\\n", " "))


def parse(module_name, argv, monkeypatch):
    """Lets a command read its arguments and stops it there; gives its options."""
    module = importlib.import_module(module_name)
    owners = [m for m in (module, fit, options) if hasattr(m, "parse_args")]
    parse_args = options.parse_args

    def parse_only(*arguments, **named):
        raise _ParsedError(parse_args(*arguments, **named))

    with monkeypatch.context() as patch, pytest.raises(_ParsedError) as raised:
        for owner in owners:
            patch.setattr(owner, "parse_args", parse_only)
        module.main(argv)
    return raised.value.args[0]


class _ParsedError(Exception):
    pass


def test_the_three_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@each_notebook
def test_is_valid_and_holds_no_output(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@each_notebook
def test_badge_opens_the_notebook_itself(path):
    (address,) = re.findall(r"\)\]\((https://colab\.[^)]+)\)", text_of(path))
    name = REPOSITORY.partition("/")[2]
    assert address == (
        f"https://colab.research.google.com/github/{name}/blob/main/"
        f"{path.relative_to(ROOT).as_posix()}"
    )
    assert f"git clone --depth 1 https://{REPOSITORY} " in text_of(path)


@each_notebook
def test_names_no_place_of_a_machine(path):
    assert not MACHINE_PATH.search(path.read_text(encoding="utf-8"))
    assert MACHINE_PATH.search("open('/home/me/x')")


@pytest.mark.parametrize("small", ["1", "0"])
@each_notebook
def test_commands_understand_their_flags(path, small, monkeypatch, tmp_path, request):
    monkeypatch.setenv("TF_PROMPT_SMALL", small)
    monkeypatch.delenv("TF_PROMPT_SOURCE", raising=False)
    # `submit` asks that the folder of its output is there.
    monkeypatch.chdir(tmp_path)
    names = settings_of(path)
    names["score"] = "--score prompts.csv"
    runs = names.get("PRESETS", ["transformer_tiny"])
    names |= {"preset": runs[0], "RUNS": [f"runs/{name}" for name in runs]}
    modules = set()
    for module, argv in commands_of(path, names):
        options = parse(module, argv, monkeypatch)
        if isinstance(options, FitConfig):
            # Options must mean something to the preset, too.
            recipes.complete(options)
        modules.add(module)
    assert "tf_prompt.fit" in modules and len(modules) >= 4


def test_a_wrong_flag_is_found(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parse("tf_prompt.fit", ["--epoch", "3"], monkeypatch)
    assert "--epoch" in capsys.readouterr().err


def check_commands(source):
    """Adds, after each `!command`, a line that fails if the command did."""
    lines, ongoing = [], False
    for line in source.split("\n"):
        lines.append(line)
        indent = line[: len(line) - len(line.lstrip())]
        if line.lstrip().startswith("!"):
            start, ongoing = indent, True
        if ongoing and not line.endswith("\\"):
            lines.append(f"{start}assert _exit_code == 0, _exit_code")
            ongoing = False
    return "\n".join(lines)


def test_failed_commands_are_noticed():
    assert check_commands("if x:\n    !a \\\n        b\nc") == (
        "if x:\n    !a \\\n        b\n    assert _exit_code == 0, _exit_code\nc"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [first_notebook, *(pytest.param(path, marks=pytest.mark.long) for path in others)],
    ids=lambda path: path.stem,
)
# Jupyter's own packages warn of each other.
@pytest.mark.filterwarnings("default")
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    """In a new folder with small settings; each takes two minutes of CPU time."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TF_PROMPT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    python = pathlib.Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{python}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TF_PROMPT_SMALL", "1")
    monkeypatch.delenv("TF_PROMPT_SOURCE", raising=False)
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = check_commands(cell.source)
    folder = tmp_path / "notebook"
    folder.mkdir()
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    made = {
        "01_quickstart": ["saved_models/transformer_tiny/1/saved_model.pb"],
        # The second is of the cell for one's own folder.
        "02_diffusiondb": ["report/report.html", "runs/mine/evaluation/metrics.json"],
        "03_kaggle_submission": ["submission.csv"],
    }
    for name in made[path.stem]:
        assert (folder / name).is_file()
    (tmp_path / "executed.ipynb").write_text(nbformat.writes(notebook))
