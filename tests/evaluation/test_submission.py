import csv
import os
import pathlib
import sys
import tracemalloc
import types

import numpy as np
import pytest
import tensorflow as tf

from tests import checks
from tests.conftest import draw_record
from tf_prompt import submit
from tf_prompt.data import images
from tf_prompt.evaluation import submission
from tf_prompt.metrics import prompt_embedder


class FakeModel:
    """Gives each image the embedding that its mean colour draws."""

    def __init__(self, name="fake", image_size=8, change=lambda rows: rows):
        self.name, self.change = name, change
        self.image_size, self.sizes = image_size, (image_size,)
        self.shapes = []

    def describe(self, images):
        (pictures,) = (images[size] for size in self.sizes)
        self.shapes.append(pictures.shape)
        means = pictures.reshape(len(pictures), -1, 3).mean(axis=1).round().astype(int)
        rows = [np.random.default_rng(mean).normal(size=384) for mean in means]
        return {"embedding": tf.constant(self.change(np.float32(rows)))}

    def embed(self, pictures):
        return self.describe({self.image_size: pictures})["embedding"].numpy()


@pytest.fixture
def members(monkeypatch):
    """Stands for `inference.loading`: fakes by the name of their run folder."""
    fakes = {"runs/a": FakeModel("a"), "runs/b": FakeModel("b", 24, np.fliplr)}
    loader = types.SimpleNamespace(load=fakes.__getitem__)
    module = types.SimpleNamespace(Loader=lambda: loader)
    monkeypatch.setitem(sys.modules, "tf_prompt.inference.loading", module)
    return fakes


@pytest.fixture
def folder(tmp_path):
    """Images b, a and a-1, of three colours."""
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    for name, colour in (("b.jpg", "red"), ("a.JPEG", "blue"), ("a-1.jpg", "green")):
        (folder / name).write_bytes(draw_record(colour, "left", 0).image)
    return folder


def write_sample(path, *image_ids):
    rows = [f"{image_id}_{e},0.5" for image_id in image_ids for e in range(384)]
    path.write_text("\n".join(["imgId_eId,val", *rows]) + "\n")


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def embeddings_of(*numbers):
    return np.random.default_rng(numbers).normal(size=(len(numbers), 384))


def run(folder, *argv, output="submission.csv"):
    output = folder.parent.parent / output
    base = ["--images", str(folder), "--output", str(output)]
    return checks.exit_code(submit.main, [*base, *map(str, argv)]), output


def assert_refused(result, capsys, *words):
    """Exit code 2, one line that holds the words, and no file, not even half."""
    code, output = result
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    for word in words:
        assert word in captured.err
    assert not list(output.parent.glob(f"{output.name}*"))


def test_true_prompts_reproduce_the_competition_s_sample(real_data, minilm, tmp_path):
    kaggle, output = real_data / "kaggle", tmp_path / "submission.csv"
    sample = submission.find_sample(kaggle / "images")
    paths = submission.find_images(kaggle / "images", sample)
    prompts = submission.read_true_prompts(kaggle / "prompts.csv", paths)
    with submission.SubmissionWriter(output, list(paths)) as writer:
        writer.add(list(paths), prompt_embedder.embed(prompts, minilm))
    found, expected = read_rows(output), read_rows(kaggle / "sample_submission.csv")
    assert len(found) == 1 + 2688
    assert [row[0] for row in found] == [row[0] for row in expected]
    np.testing.assert_allclose(
        [float(row[1]) for row in found[1:]],
        [float(row[1]) for row in expected[1:]],
        atol=1e-3,
    )
    cosines = submission.score_submission(output, prompts, minilm, images_at_once=3)
    np.testing.assert_allclose(cosines, np.ones(7), atol=1e-6)
    theirs = submission.score_submission(
        kaggle / "sample_submission.csv", prompts, minilm
    )
    assert theirs.mean() > 0.999


def test_rows_are_image_major_and_read_back_exactly(tmp_path):
    embeddings = embeddings_of(1, 2).astype("float32")
    with submission.SubmissionWriter(tmp_path / "s.csv", ["x", "y,_1"]) as writer:
        writer.add(["x"], embeddings[:1])
        writer.add(["y,_1"], embeddings[1:])
    rows = read_rows(tmp_path / "s.csv")
    assert rows[0] == ["imgId_eId", "val"]
    assert [row[0] for row in rows[1:3]] == ["x_0", "x_1"]
    assert [row[0] for row in rows[384:386]] == ["x_383", "y,_1_0"]
    assert np.float32(rows[385][1]) == embeddings[1, 0]
    ids, values = zip(*submission.read_submission(tmp_path / "s.csv"), strict=True)
    assert ids == ("x", "y,_1")
    np.testing.assert_array_equal(np.float32(values), embeddings)


@pytest.mark.parametrize("reason", ["stopped", "an image missing", "damaged"])
def test_no_half_file_takes_the_place_of_a_former_one(reason, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("former")
    with pytest.raises((KeyboardInterrupt, ValueError)):
        with submission.SubmissionWriter(path, ["x", "y"]) as writer:
            writer.add(["x"], embeddings_of(1))
            if reason == "stopped":
                raise KeyboardInterrupt
            if reason == "damaged":
                writer.add(["y"], embeddings_of(2))
                (half,) = set(tmp_path.iterdir()) - {path}
                with half.open("a") as file:
                    file.write("z_0,1\n")
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]
    assert path.read_text() == "former"


@pytest.mark.parametrize(
    "image_ids, embeddings, message",
    [
        (["y"], embeddings_of(1), r"next images must be \['x'\]. Received: \['y'\]"),
        (["x"], np.full((1, 384), np.nan), "finite.*Received: x"),
        (["x"], np.zeros((1, 384)), "not zero. Received: x"),
        (["x"], np.ones((1, 383)), r"\(1, 384\). Received: \(1, 383\)"),
        (["x", "y", "z"], embeddings_of(1, 2, 3), "next images"),
    ],
)
def test_bad_embeddings_never_reach_the_file(image_ids, embeddings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        with submission.SubmissionWriter(tmp_path / "s.csv", ["x", "y"]) as writer:
            writer.add(image_ids, embeddings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows[1:], "line 1 .*header"),
        (lambda rows: rows[:1], "at least one image"),
        (lambda rows: rows[:-1], "384 rows of y"),
        (lambda rows: rows[:100] + rows[101:], "line 101 .*x_99,NUMBER"),
        (lambda rows: rows[:1] + rows[385:] + rows[385:], "one block of rows of y"),
        (lambda rows: [*rows[:-1], "y_383,nan"], "line 769 .*finite"),
        (lambda rows: [*rows[:-1], "y_383,"], "line 769 .*finite"),
        (lambda rows: [*rows[:-1], "y_383"], "line 769 .*y_383,NUMBER"),
        (lambda rows: rows[:1] + sorted(rows[1:], key=lambda r: r[2:]), "x_1,NUMBER"),
    ],
    ids=[
        "no header",
        "empty",
        "cut",
        "gap",
        "twice",
        "NaN",
        "no number",
        "no comma",
        "not image-major",
    ],
)
def test_unsound_files_are_named_with_the_line(change, message, tmp_path):
    path = tmp_path / "s.csv"
    write_sample(path, "x", "y")
    assert len(list(submission.read_submission(path))) == 2
    path.write_text("\n".join(change(path.read_text().split())) + "\n")
    with pytest.raises(ValueError, match=message):
        list(submission.read_submission(path))


def test_memory_does_not_grow_with_the_images(tmp_path):
    def peak_of(count):
        ids = [f"image{i:05d}" for i in range(count)]
        tracemalloc.start()
        try:
            with submission.SubmissionWriter(tmp_path / "s.csv", ids) as writer:
                for start in range(0, count, 10):
                    part = ids[start : start + 10]
                    writer.add(part, embeddings_of(*range(start, start + 10)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak_of(10), peak_of(90)
    # 80 images more: their ids, not their 30,720 rows.
    assert many - few < 80 * 1000


def test_order_is_that_of_the_sample_else_of_ids(folder, tmp_path):
    assert submission.find_sample(folder) is None
    assert list(submission.find_images(folder)) == ["a", "a-1", "b"]
    write_sample(folder.parent / "sample_submission.csv", "b", "a")
    found = submission.find_sample(folder)
    assert found == folder.resolve().parent / "sample_submission.csv"
    assert list(submission.find_images(folder, found)) == ["b", "a"]
    write_sample(folder / "sample_submission.csv", "a-1", "b", "a")
    nearer = submission.find_sample(folder)
    assert list(submission.find_images(folder, nearer)) == ["a-1", "b", "a"]
    write_sample(tmp_path / "other.csv", "a-1")
    given = submission.find_sample(folder, str(tmp_path / "other.csv"))
    assert list(submission.find_images(folder, given)) == ["a-1"]
    assert submission.find_sample(folder, "none") is None


def test_submit_averages_normalised_embeddings(folder, members, capsys):
    members["runs/a"].change = lambda rows: 100 * rows
    weights = ["--weights", 1, 3, "--batch-size", 2]
    code, output = run(folder, "--run-dir", "runs/a", "runs/b", *weights)
    captured = capsys.readouterr()
    assert code == 0 and captured.out == ""
    assert "3 images, 1152 rows, in order of name" in captured.err
    assert members["runs/a"].shapes == [(2, 8, 8, 3), (1, 8, 8, 3)]
    assert members["runs/b"].shapes == [(2, 24, 24, 3), (1, 24, 24, 3)]
    found = dict(submission.read_submission(output))
    assert list(found) == ["a", "a-1", "b"]
    for image_id, embedding in found.items():
        (path,) = folder.glob(f"{image_id}.*")
        rows = [_embed_alone(fake, path) for fake in members.values()]
        expected = 0.25 * rows[0] + 0.75 * rows[1]
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_an_ensemble_gives_each_member_its_own_size(folder, members):
    inner = [FakeModel("c", 16), FakeModel("d", 12, np.fliplr)]
    weights = np.array([0.25, 0.75])

    def describe(images):
        rows = [
            fake.describe({fake.image_size: images[fake.image_size]})["embedding"]
            for fake in inner
        ]
        return {
            "embedding": tf.einsum("m,mbd->bd", np.float32(weights), tf.stack(rows))
        }

    members["runs/a"] = types.SimpleNamespace(
        name="ensemble", sizes=(16, 12), describe=describe
    )
    code, output = run(folder, "--run-dir", "runs/a")
    assert code == 0
    assert [fake.shapes for fake in inner] == [[(3, 16, 16, 3)], [(3, 12, 12, 3)]]
    found = dict(submission.read_submission(output))
    images_of_b = [
        images.decode_image((folder / "b.jpg").read_bytes(), fake.image_size)
        for fake in inner
    ]
    rows = [
        fake.embed(image.numpy()[None])[0]
        for fake, image in zip(inner, images_of_b, strict=True)
    ]
    expected = weights @ np.stack(rows)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(found["b"], expected, atol=1e-5)


def _embed_alone(fake, path):
    image = images.decode_image(path.read_bytes(), fake.image_size).numpy()
    row = fake.embed(image[None])[0]
    return row / np.linalg.norm(row)


def test_submit_prints_the_competition_s_metric(folder, members, capsys, monkeypatch):
    """Embeddings along the first axis; true ones at cosine 1, 0.6 and -1."""
    axis = np.eye(384)[0]
    members["runs/a"].change = lambda rows: np.tile(axis, (len(rows), 1))
    true = {"one": axis, "two": 0.6 * axis + 0.8 * np.eye(384)[5], "three": -axis}
    monkeypatch.setattr(prompt_embedder, "load_embedder", lambda: None)
    monkeypatch.setattr(prompt_embedder, "signature", lambda _: "signature")
    monkeypatch.setattr(
        prompt_embedder, "embed", lambda t, _: np.stack([true[x] for x in t])
    )
    prompts = folder / "prompts.csv"
    prompts.write_text("imgId,prompt\nb,three\nother,x\na,one\na-1,two\n")
    code, _ = run(folder, "--run-dir", "runs/a", "--score", prompts)
    assert code == 0
    first, second = capsys.readouterr().out.strip().split("\n")
    assert first.startswith("cosine 0.20000 [-1.00000, ") and "3 images" in first
    assert second == "signature"


def test_submit_follows_the_sample(folder, members, capsys):
    write_sample(folder.parent / "sample_submission.csv", "b", "a-1", "a")
    code, output = run(folder, "--run-dir", "runs/a")
    assert code == 0 and "in the order of" in capsys.readouterr().err
    assert [i for i, _ in submission.read_submission(output)] == ["b", "a-1", "a"]
    code, output = run(folder, "--run-dir", "runs/a", "--sample-submission", "none")
    assert [i for i, _ in submission.read_submission(output)] == ["a", "a-1", "b"]


def test_an_unreadable_image_leaves_no_file(folder, members, capsys):
    (folder / "c.png").write_text("no image")
    result = run(folder, "--run-dir", "runs/a", "--batch-size", 100)
    assert_refused(result, capsys, "submit: error: every file must be", "c.png")


def test_a_member_that_gives_nan_is_named(folder, members, capsys):
    members["runs/b"].change = lambda rows: rows * np.nan
    result = run(folder, "--run-dir", "runs/a", "runs/b")
    assert_refused(result, capsys, "embeddings of b must be finite", "Received: a,")


def test_missing_and_double_images_are_named(folder, members, capsys):
    write_sample(folder.parent / "sample_submission.csv", "b", "z", "a")
    result = run(folder, "--run-dir", "runs/a")
    assert_refused(result, capsys, "without 1 of them, first z", "none")
    (folder.parent / "sample_submission.csv").unlink()
    (folder / "b.png").write_bytes(b"")
    result = run(folder, "--run-dir", "runs/a")
    assert_refused(result, capsys, "b.jpg and b.png")


@pytest.mark.parametrize(
    "content, message",
    [
        ("name,prompt\na,x\n", "columns imgId and prompt"),
        ("imgId,prompt\na,x\n", "without 2 of 3, first a-1"),
        ("imgId,prompt\na,x\na,y\n", "one prompt per image"),
        ("imgId,prompt\na,x, y\n", "prompts.csv, line 2: a"),
        ("", "columns imgId and prompt"),
    ],
)
def test_bad_true_prompts_are_refused_first(content, message, folder, members, capsys):
    prompts = folder.parent / "prompts.csv"
    prompts.write_text(content)
    result = run(folder, "--run-dir", "runs/a", "--score", prompts)
    assert_refused(result, capsys, message, "prompts.csv")
    assert members["runs/a"].shapes == []


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--weights", 1, 2], "weights must be one per run, 1. Received: 2"),
        (["--weights", -1], "weights must not be negative"),
        (["--weights", 0], "not all zero"),
        (["--weights", "nan"], "not all zero"),
        (["--batch-size", 0], "batch_size must be positive"),
        (["--score", "absent.csv"], "Received: absent.csv"),
        (["--sample-submission", "absent.csv"], "Received: absent.csv"),
    ],
)
def test_wrong_use_is_one_line(argv, message, folder, members, capsys):
    result = run(folder, "--run-dir", "runs/a", *argv)
    assert_refused(result, capsys, message)


def test_wrong_paths_are_one_line(folder, members, capsys, tmp_path):
    result = run(folder, "--run-dir", "runs/a", output="absent/s.csv")
    assert_refused(result, capsys, "a folder that exists", "absent")
    # Root could rename the finished file over a device.
    code, _ = run(folder, "--run-dir", "runs/a", output=os.devnull)
    assert code == 2 and not pathlib.Path(os.devnull).is_file()
    assert "output must be a file" in capsys.readouterr().err
    result = run(tmp_path / "x" / "absent", "--run-dir", "runs/a")
    assert_refused(result, capsys, "images must be a folder")
    (tmp_path / "x" / "empty").mkdir(parents=True)
    result = run(tmp_path / "x" / "empty", "--run-dir", "runs/a")
    assert_refused(result, capsys, "must hold images")


@pytest.mark.parametrize("content", [b"\xff\xfe", b'imgId,prompt\n"a,b'])
def test_what_is_no_csv_is_named(tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    for read in (lambda p: list(submission.read_submission(p)), _read_one_prompt):
        with pytest.raises(ValueError, match="Received: .*x.csv"):
            read(tmp_path / "x.csv")


def _read_one_prompt(path):
    return submission.read_true_prompts(path, ["a"])
