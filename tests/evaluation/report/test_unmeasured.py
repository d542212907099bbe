"""What a report says where there was too little to measure."""

import json

import pytest

from tests.evaluation.report.test_report import (
    HEALTH,
    REFERENCES,
    row_of,
    write_report,
    write_run,
)
from tf_prompt.evaluation.report import runs

ALONE = {"score": 50.0, "low": None, "high": None, "signature": "bleu|one"}


def test_one_example_has_no_interval_and_no_comparison(tmp_path):
    one, two = (
        write_run(tmp_path / name, [text], REFERENCES[:1], {"bleu": ALONE})
        for name, text in (("one", REFERENCES[0]), ("two", "a dog"))
    )
    markdown, _ = write_report(tmp_path / "out", one, two)
    assert row_of(markdown, "one")[1] == "50.00"
    # A paired bootstrap of one example would call it better with p = 0.002.
    finding = row_of(markdown, "one", "two", "BLEU, METEOR")[3]
    assert finding == "not measured: one example"
    assert "Chance level: not measured." in markdown


def test_health_that_could_not_be_measured_is_no_damage(tmp_path):
    folder = write_run(tmp_path / "run", REFERENCES)
    path = folder / "evaluation/metrics.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "health": {**HEALTH, "end_rate": None}}))
    markdown, _ = write_report(tmp_path / "out", folder)
    assert row_of(markdown, "run", "0.500", "not measured")


@pytest.mark.parametrize(
    "ends", [{}, {"low": None}, {"low": None, "high": 1.0}, {"low": "1", "high": 1.0}]
)
def test_half_an_interval_is_damage(tmp_path, ends):
    score = {"score": 50.0, "signature": "bleu|one", **ends}
    folder = write_run(tmp_path / "run", REFERENCES, metrics={"bleu": score})
    with pytest.raises(ValueError, match="Received: .*metrics.json"):
        runs.read_run(folder, "run")


def test_scores_by_source_stand_beside_the_neighbour(tmp_path):
    folder = write_run(tmp_path / "run", REFERENCES)
    markdown, _ = write_report(tmp_path / "out", folder)
    assert "Scores by source" not in markdown
    metrics = json.loads((folder / "evaluation/metrics.json").read_text())["metrics"]
    group = {
        "examples": 2,
        "metrics": metrics,
        "baselines": {"nearest_neighbour": metrics},
    }
    path = folder / "evaluation/by_source.json"
    path.write_text(json.dumps({"site_a": group}))
    markdown, _ = write_report(tmp_path / "out", folder)
    assert "Scores by source" in markdown
    assert row_of(markdown, "run", "site_a", "nearest neighbour")[3] == "2"
    path.write_text(json.dumps({"site_a": {"examples": "two"}}))
    with pytest.raises(ValueError, match="Received: .*by_source.json"):
        runs.read_run(folder, "run")
