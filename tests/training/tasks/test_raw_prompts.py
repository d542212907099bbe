"""A run on prompts as they were written, from fit to evaluation and back."""

import dataclasses
import json

import pytest

from tests.conftest import SMALL_TRANSFORMER
from tf_prompt import fit, predict
from tf_prompt.data import vocabulary
from tf_prompt.evaluation import evaluator
from tf_prompt.runs import folder as run_folder
from tf_prompt.runs.config import FitConfig
from tf_prompt.runs.run import Run
from tf_prompt.training import loop, strategy


def config_for(shards, **overrides):
    arguments = {
        "data": str(shards),
        "tokens": "subwords",
        "epochs": 8,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "warmup_steps": 5,
        "max_subwords": 9,
        "flip": False,
        "set": SMALL_TRANSFORMER,
    }
    return FitConfig(**{**arguments, **overrides})


@pytest.fixture(scope="module")
def run_dir(tiny_shards, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("raw") / "run"
    loop.train(config_for(tiny_shards), run_dir, strategy.build_strategy(["CPU:0"]))
    return run_dir


@pytest.mark.slow
def test_run_writes_prompts_as_they_were(run_dir):
    metrics, rows = evaluator.evaluate_run(
        run_dir, metrics=("bleu",), neighbours=8, split="validation"
    )
    assert rows[0]["reference"] == "A red patch, left!"
    right = [row["prediction"] == row["reference"] for row in rows]
    assert sum(right) >= 12
    assert rows[0]["nearest_neighbour"].endswith("!")
    assert metrics["metrics"]["bleu"]["signature"].endswith("|text:raw")
    for baseline in metrics["baselines"].values():
        assert baseline["bleu"]["signature"].endswith("|text:raw")


@pytest.mark.slow
def test_run_knows_its_vocabulary(run_dir):
    found = Run(run_dir).vocabulary
    assert found.is_raw and len(found) == Run(run_dir).model.vocab_size
    assert "Ġpatch" in found.tokens
    assert Run(run_dir).model.max_tokens == 10
    assert (run_dir / vocabulary.MERGES).is_file()


@pytest.mark.slow
def test_damaged_merges_end_in_one_line(run_dir, tmp_path, capsys):
    path = run_dir / vocabulary.MERGES
    content = path.read_text()
    path.write_text(content[:-3])
    try:
        argv = ["--run-dir", str(run_dir), str(tmp_path)]
        (tmp_path / "a.png").write_bytes(b"")
        assert predict.main(argv) == 2
    finally:
        path.write_text(content)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("predict: error: merges must be pairs of tokens")


def test_a_new_run_leaves_no_vocabulary_of_before(tiny_shards, tmp_path):
    names = vocabulary.TOKENS, vocabulary.MERGES, run_folder.MODIFIERS
    for name in names:
        (tmp_path / name).touch()
    config = config_for(tiny_shards)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    run_folder.open_run(tmp_path, dataclasses.replace(config, seed=1))
    assert not any((tmp_path / name).exists() for name in names)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--max-subwords", "9"], "max_subwords must be left out with tokens=words"),
        (["--fold-case"], "fold_case must be left out with tokens=words"),
        (
            ["--tokens", "subwords", "--max-words", "9"],
            "max_words must be left out with tokens=subwords. Received: 9",
        ),
        (["--tokens", "letters"], "invalid choice: 'letters'"),
        (["--tokens", "subwords", "--max-subwords", "0"], "max_subwords must be pos"),
    ],
)
def test_options_that_do_not_go_together(flags, message, capsys):
    try:
        code = fit.main(flags)
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
