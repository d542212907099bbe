"""The card of a run written by hand: nothing here is trained."""

import json
import re

import pytest

from tf_prompt.evaluation.report.model_card import write_model_card

BLEU = {"score": 41.26, "low": 38.0, "high": 44.0, "signature": "bleu|by hand"}
CONFIG = {
    "preset": "lstm_tiny",
    "data": "absent/shards",
    "epochs": 2,
    "seed": 7,
    "max_words": 30,
    "set": ["units=99"],
    "git_commit": "0123456789abcdef",
    "keras_version": "3.15.1",
}


@pytest.fixture
def make_run(tmp_path):
    """Writes a run's folder; with `evaluated` two examples and their scores."""

    def make(name="my_run", evaluated=True, **options):
        folder = tmp_path / name
        (folder / "evaluation").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**CONFIG, **options}))
        (folder / "history.csv").write_text(
            "epoch,loss,val_loss,seconds\n1,3.0,1.5,40\n2,2.0,1.75,50\n"
        )
        if evaluated:
            metrics = {
                "examples": 2,
                "metrics": {"bleu": BLEU},
                "baselines": {"shuffled": {"bleu": {**BLEU, "score": 1.04}}},
                "health": {"unique_ratio": 1.0},
            }
            (folder / "evaluation/metrics.json").write_text(json.dumps(metrics))
            (folder / "evaluation/predictions.csv").write_text(
                "image_id,reference,prediction\n"
                "1.jpg,a red cat,a red cat\n2.jpg,a red cat,a cow\n3.jpg,x | y,`z`\n"
            )
        return folder

    return make


def card_of(folder):
    path = folder.parent / "README.md"
    write_model_card(folder, path)
    return path.read_text(encoding="utf-8")


def test_card_states_what_the_run_holds(make_run):
    card = card_of(make_run(data="toy"))
    assert "# my_run\n" in card and "preset `lstm_tiny`" in card
    # 90 seconds; the lower validation loss is that of epoch 1.
    assert "2 epochs in 1 min 30 s on" in card
    assert "Epoch 1 was kept for its validation loss 1.500" in card
    row = r"\| BLEU +\| +41.3 \[38.0, 44.0\] +\| +1.0 \|"
    assert re.search(row, card)
    assert "true prompts of other images" in card
    # A table would end at its bar.
    assert "bleu\\|by hand" in card
    assert re.search(r"\| seed +\| 7 +\|", card) and "units 99" in card
    # 7,227 + 389 + 384 are the 8,000 pictures of the toy set.
    assert re.search(r"kept: train +\| 7,227", card)
    assert "commit 0123456789ab," in card and "knows only the toy set" in card


def test_nothing_is_left_to_fill(make_run):
    card = card_of(make_run())
    assert not re.search(r"\$[a-z{]|\bNone\b", card)


def test_examples_are_distinct_and_cannot_break_the_table(make_run):
    card = card_of(make_run())
    assert card.count("| a red cat ") == 2  # True and predicted, of one picture.
    assert "a cow" not in card
    assert re.search(r"\| x \\\| y +\| \\`z\\` +\|", card)


def test_metadata_is_yaml(make_run):
    yaml = pytest.importorskip("yaml")
    name = 'odd "name": #1'
    front = card_of(make_run(name)).split("---\n")[1]
    metadata = yaml.safe_load(front)
    assert metadata["pipeline_tag"] == "image-to-text"
    (model,) = metadata["model-index"]
    assert model["name"] == name
    metrics = model["results"][0]["metrics"]
    assert metrics == [{"type": "bleu", "name": "BLEU", "value": 41.26}]


def test_run_without_evaluation_says_so(make_run):
    card = card_of(make_run(evaluated=False))
    assert "Not measured: run `python -m tf_prompt.evaluate`" in card
    assert "Examples: not measured." in card and "model-index" not in card


def test_vocabulary_is_that_of_the_run(make_run):
    run = make_run(set=[])
    words = ["[PAD]", "[UNK]", "[START]", "[END]", "a", "red", "cat"]
    (run / "vocabulary.txt").write_text("\n".join(words) + "\n")
    assert "vocab size 7," in card_of(run)


def test_folders_are_named_without_the_way_to_them(make_run, tmp_path):
    members = [str(tmp_path / "one"), f"knn:{tmp_path / 'two'}"]
    data = str(tmp_path / "shards")
    run = make_run(preset="ensemble_tiny", data=data, members=members, set=[])
    card = card_of(run)
    assert str(tmp_path) not in card
    assert "| one knn:two" in card and "| shards" in card
    assert "DiffusionDB is CC0-1.0" in card and "wang2023diffusiondb" in card
    assert "knows only the toy set" not in card


@pytest.mark.parametrize(
    "preset, task, command",
    [
        ("transformer_tiny", "image-to-text", "tf_prompt.export"),
        ("vit_regressor_tiny", "image-feature-extraction", "tf_prompt.submit"),
        ("clip_interrogator_tiny", "zero-shot-image", "tf_prompt.interrogate"),
    ],
)
def test_each_kind_has_its_task_and_commands(make_run, preset, task, command):
    card = card_of(make_run(preset=preset, set=[]))
    assert f'pipeline_tag: "{task}' in card
    assert f"python -m {command} --run-dir my_run" in card


def test_wrong_folders_are_named(make_run, tmp_path):
    with pytest.raises(FileNotFoundError, match="run_dir must hold a run"):
        write_model_card(tmp_path / "absent", tmp_path / "card.md")
    with pytest.raises(FileNotFoundError, match="path must be a file in a folder"):
        write_model_card(make_run(), tmp_path / "absent" / "card.md")
    assert list(tmp_path.glob("**/*.md")) == []


def test_one_example_has_a_score_and_no_interval(make_run):
    folder = make_run()
    alone = {**BLEU, "low": None, "high": None}
    metrics = {"examples": 1, "metrics": {"bleu": alone}, "baselines": {}}
    (folder / "evaluation/metrics.json").write_text(json.dumps(metrics))
    assert re.search(r"\| BLEU +\| +41.3 +\|\n", card_of(folder))
