"""Folders of files: order, bad files, and how many batches are under way."""

import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf

from tf_prompt.data import images
from tf_prompt.inference import image_bytes, image_files


class Echo:
    """Writes the mean colour of each picture, and counts calls."""

    is_thread_safe = True

    def __init__(self):
        self.sizes, self.running, self.most = [], 0, 0
        self._lock = threading.Lock()

    def __call__(self, image_bytes):
        with self._lock:
            self.sizes.append(len(image_bytes))
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            decoded = [images.decode_image(data, 4) for data in image_bytes]
        finally:
            with self._lock:
                self.running -= 1
        means = [int(np.mean(picture)) for picture in decoded]
        return {"prompt": [str(m).encode() for m in means], "score": np.array(means)}


@pytest.fixture
def paths(tmp_path):
    """Ten pictures; the one at place n has grey level 10 n."""
    for number in range(10):
        picture = np.full((8, 8, 3), 10 * number, np.uint8)
        path = tmp_path / f"{number}.png"
        path.write_bytes(tf.io.encode_png(picture).numpy())
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("batch_size", [1, 3, 10, 99])
def test_results_come_in_order(paths, batch_size):
    writer = Echo()
    found = list(image_files.predict(writer, paths, batch_size))
    assert [row["path"] for row in found] == [str(path) for path in paths]
    assert [row["prompt"] for row in found] == [str(10 * n) for n in range(10)]
    assert max(writer.sizes) == min(batch_size, 10)


def test_a_bad_file_costs_no_other(paths):
    paths[1].write_bytes(b"no image")
    paths[4].unlink()
    paths[5].write_bytes(paths[5].read_bytes()[:40])
    found = list(image_files.predict(Echo(), paths, 3))
    assert "not an image" in found[1]["error"]
    assert "No such file" in found[4]["error"]
    assert "not an image" in found[5]["error"]
    assert found[1]["error"].endswith("a text file")
    assert found[5]["error"].endswith("cut off, the PNG ends early")
    good = [n for n in range(10) if n not in (1, 4, 5)]
    assert [found[n]["prompt"] for n in good] == [str(10 * n) for n in good]


def test_only_bad_files(paths):
    for path in paths:
        path.write_bytes(b"no image")
    found = list(image_files.predict(Echo(), paths, 4))
    assert all("not an image" in row["error"] for row in found)


def test_a_score_that_is_no_number_tells_a_bad_file(paths):
    """As a SavedModel says it."""
    paths[1].write_bytes(b"no image")

    def writer(image_bytes):
        scores = np.array([np.nan if b"no" in d[:2] else -1.0 for d in image_bytes])
        return {"prompt": [b"x"] * len(scores), "score": scores}

    found = list(image_files.predict(writer, paths[:3], 3))
    assert [row.get("score") for row in found] == [-1, None, -1]
    assert "not an image" in found[1]["error"]


def test_what_fails_on_good_pictures_is_raised(paths):
    def broken(image_bytes):
        raise tf.errors.InvalidArgumentError(None, None, "shapes differ")

    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes differ"):
        list(image_files.predict(broken, paths, 4))


def test_two_batches_are_written_at_once(paths):
    """Each of two calls waits for the other: one alone would time out."""
    barrier, echo = threading.Barrier(2), Echo()

    def writer(image_bytes):
        barrier.wait(timeout=20)
        return echo(image_bytes)

    writer.is_thread_safe = True
    assert len(list(image_files.predict(writer, paths, 5))) == 10


def test_a_writer_that_may_not_is_called_by_one_thread(paths):
    writer = Echo()
    writer.is_thread_safe = False
    assert len(list(image_files.predict(writer, paths, 1))) == 10
    assert writer.most == 1


def test_files_far_ahead_wait(paths):
    """Memory is bounded: three batches begin before the first result is taken."""
    writer = Echo()
    results = image_files.predict(writer, paths, 1)
    next(results)
    results.close()
    assert len(writer.sizes) <= 3


def test_a_name_that_is_no_utf8_costs_no_other(paths, tmp_path):
    """No file of results, and not every terminal, could hold it."""
    bad = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    bad.write_bytes(paths[0].read_bytes())
    first, second = image_files.predict(Echo(), [bad, paths[1]], 2)
    assert first["path"].endswith("\\udcff.png") and "not UTF-8" in first["error"]
    assert second["prompt"] == "10"


def test_too_large_a_file_is_not_read(paths, tmp_path):
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(image_bytes.MAX_BYTES + 1)
    found = list(image_files.predict(Echo(), [tmp_path / "large.png", paths[2]], 2))
    assert found[0]["error"] == "more than 256 MB" and found[1]["prompt"] == "20"
