"""Predictions of a run that is killed, and started again."""

import os

import pytest

from tf_prompt.evaluation.prediction_log import (
    open_log,
    read_predictions,
    write_rows,
)
from tf_prompt.runs import lock


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
    with open_log(folder, {"way": identity}) as log:
        log.add(map(row, numbers))
        raise Killed


def test_rows_come_back_as_they_were(tmp_path):
    with open_log(tmp_path, {}) as log:
        assert log.num_done == 0
        log.add([row(1), row(2)])
    assert read_predictions(tmp_path) == [row(1), row(2)]


def test_a_killed_run_goes_on(tmp_path):
    with pytest.raises(Killed):
        write_some(tmp_path, [1, 2])
    assert read_predictions(tmp_path) == []
    with open_log(tmp_path, {"way": "greedy"}) as log:
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
    with open_log(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 1
        log.add([row(2)])
    assert read_predictions(tmp_path) == [row(1), row(2)]


def test_rows_written_another_way_are_not_kept(tmp_path):
    with pytest.raises(Killed):
        write_some(tmp_path, [1, 2], "by beams")
    with open_log(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 0


def test_a_finished_evaluation_is_all_done(tmp_path):
    with open_log(tmp_path, {"way": "greedy"}) as log:
        log.add([row(1)])
    with open_log(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 1
    assert read_predictions(tmp_path) == [row(1)]


def test_long_prompts_come_back(tmp_path):
    """Twice csv's own limit of a field."""
    long = row(0, "word " * 50_000)
    with open_log(tmp_path, {}) as log:
        log.add([long])
    assert read_predictions(tmp_path) == [long]


def test_rows_behind_a_damaged_one_are_written_again(tmp_path):
    with open_log(tmp_path, {}) as log:
        log.add(map(row, range(3)))
    path = tmp_path / "predictions.csv"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[2] = lines[2].replace(str(row(1)["score"]), "much")
    path.write_text("\n".join(lines), encoding="utf-8")
    assert read_predictions(tmp_path) == [row(0)]


def test_a_model_that_writes_no_words_ends_nowhere(tmp_path):
    whole = {**row(1), "ended": None}
    with open_log(tmp_path, {}) as log:
        log.add([whole, row(2)])
    assert read_predictions(tmp_path) == [whole, row(2)]
    assert b",-0.03333333333333333,," in (tmp_path / "predictions.csv").read_bytes()


# What tf_prompt at 23feb14 had on the disk when it was killed in its third row.
OLD_PART = (
    b"image_id,reference,prediction,score,ended,nearest_neighbour\r\n"
    b'1.jpg,a fox,"a ""red"" fox, at dawn",-0.03333333333333333,False,\r\n'
    b'2.jpg,a fox,"a ""red"" fox, at dawn",-0.06666666666666667,True,\r\n'
    b"3.jpg,a fo"
)
OLD_IDENTITY = b'{\n  "way": "greedy"\n}\n'


@pytest.mark.parametrize("is_finished", [False, True])
def test_what_the_version_before_left_is_gone_on_with(tmp_path, is_finished):
    name = "predictions.csv" if is_finished else "predictions.csv.part"
    (tmp_path / name).write_bytes(OLD_PART)
    (tmp_path / "predictions.json").write_bytes(OLD_IDENTITY)
    with open_log(tmp_path, {"way": "greedy"}) as log:
        assert log.num_done == 2
        log.add([row(3)])
    assert read_predictions(tmp_path) == [row(1), row(2), row(3)]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"predictions.csv", "predictions.json"}


def test_two_processes_write_no_predictions_together(tmp_path):
    def write(log, start, stop):
        # Another process that comes meanwhile is refused, before it reads a row.
        with pytest.raises(ValueError, match=f"which process {os.getpid()} on .* w"):
            write_rows(tmp_path, {"way": "greedy"}, 2, write)
        log.add([row(n) for n in range(start, stop)])

    assert len(write_rows(tmp_path, {"way": "greedy"}, 2, write)) == 2
    with lock.hold_file(tmp_path / "predictions.csv"):
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"predictions.csv", "predictions.json"}
