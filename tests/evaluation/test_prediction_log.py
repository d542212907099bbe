"""Predictions of a run that is killed, and started again."""

import pytest

from tf_prompt.evaluation.prediction_log import PredictionLog, read_predictions


def row(number, prediction='a "red" fox, at dawn'):
    return {
        "image_id": f"{number}.jpg",
        "reference": "a fox",
        "prediction": prediction,
        "score": -0.1 / 3 * number,
        "ended": number % 2 == 0,
        "nearest_neighbour": "",
    }


class Killed(BaseException):
    pass


def write_some(folder, numbers, identity="greedy"):
    with PredictionLog(folder, {"way": identity}) as log:
        log.add(map(row, numbers))
        raise Killed


def test_rows_come_back_as_they_were(tmp_path):
    with PredictionLog(tmp_path, {}) as log:
        assert log.num_done == 0
        log.add([row(1), row(2)])
    assert read_predictions(tmp_path) == [row(1), row(2)]


def test_a_killed_run_goes_on(tmp_path):
    with pytest.raises(Killed):
        write_some(tmp_path, [1, 2])
    assert read_predictions(tmp_path) == []
    with PredictionLog(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 2
        log.add([row(3)])
    assert read_predictions(tmp_path) == [row(1), row(2), row(3)]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_a_cut_line_is_written_again(tmp_path, cut):
    with pytest.raises(Killed):
        write_some(tmp_path, [1, 2])
    path = tmp_path / "predictions.csv.part"
    path.write_bytes(path.read_bytes()[:-cut])
    with PredictionLog(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 1
        log.add([row(2)])
    assert read_predictions(tmp_path) == [row(1), row(2)]


def test_rows_written_another_way_are_not_kept(tmp_path):
    with pytest.raises(Killed):
        write_some(tmp_path, [1, 2], "by beams")
    with PredictionLog(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 0


def test_a_finished_evaluation_is_all_done(tmp_path):
    with PredictionLog(tmp_path, {"way": "greedy"}) as log:
        log.add([row(1)])
    with PredictionLog(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 1
    assert read_predictions(tmp_path) == [row(1)]


def test_long_prompts_come_back(tmp_path):
    """Twice csv's own limit of a field."""
    long = row(0, "word " * 50_000)
    with PredictionLog(tmp_path, {}) as log:
        log.add([long])
    assert read_predictions(tmp_path) == [long]


def test_rows_behind_a_damaged_one_are_written_again(tmp_path):
    with PredictionLog(tmp_path, {}) as log:
        log.add(map(row, range(3)))
    path = tmp_path / "predictions.csv"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[2] = lines[2].replace(str(row(1)["score"]), "much")
    path.write_text("\n".join(lines), encoding="utf-8")
    assert read_predictions(tmp_path) == [row(0)]
