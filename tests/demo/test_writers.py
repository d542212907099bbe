"""What each kind of model says of a picture."""

import io
import json
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tests import conftest
from tf_prompt.data import text
from tf_prompt.data.toy import shards as toy_shards
from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.demo import background, describing, examples, writers
from tf_prompt.demo.__main__ import DemoConfig, main
from tf_prompt.inference import bank, pretrained
from tf_prompt.inference.bank import PromptBank
from tf_prompt.inference.captioner import CaptionerModel
from tf_prompt.inference.embedding_models import BankedModel
from tf_prompt.inference.model import PromptModel
from tf_prompt.interrogation import presets
from tf_prompt.interrogation.interrogator import Interrogated
from tf_prompt.metrics import prompt_embedder
from tf_prompt.runs.run import Run
from tf_prompt.serving.saved_model import SavedPromptWriter

# Rows of unit length: cosines with the first axis are 1, 0.6 and 0.
PROMPTS = ["Alpha, one", "beta two", "gamma three"]
ROWS = np.zeros((3, 384), np.float32)
ROWS[[0, 1, 1, 2], [0, 0, 1, 1]] = 1, 0.6, 0.8, 1


class AxisModel(PromptModel):
    """Predicts the first axis for every picture."""

    writes_prompts = False

    def __init__(self):
        super().__init__("axis", [16])

    def _describe(self, images):
        return {"embedding": tf.repeat(ROWS[:1], tf.shape(images[16])[0], axis=0)}

    def _features(self, images):
        return self._describe(images)["embedding"]


class WritingModel(AxisModel):
    writes_prompts = True

    def _describe(self, images):
        count = tf.shape(images[16])[:1]
        written = {"prompt": tf.fill(count, "etching"), "score": tf.fill(count, 0.25)}
        return {**super()._describe(images), **written}


@pytest.fixture(scope="module")
def captioner(tiny_run):
    run = Run(tiny_run)
    return run.model, run.vocabulary


@pytest.fixture(scope="module")
def model(captioner):
    """One for all tests: most of the time goes into building its graph."""
    return CaptionerModel(*captioner)


@pytest.fixture(scope="module")
def beams(model):
    return writers.Writer("tiny", model, 4)


@pytest.fixture(scope="module")
def pictures():
    return [
        conftest.draw_record("red", "left", 0),
        conftest.draw_record("bright white", "top", 0),
    ]


def near(count=2):
    return writers.Neighbours(PromptBank(PROMPTS, ROWS), None, count, "prompts")


def test_one_beam_is_what_predict_writes(model, pictures):
    data = [picture.image for picture in pictures]
    expected = model.serve(tf.constant(data))
    found = writers.Writer("tiny", model, 1).write(data)
    prompts = [prompt.decode() for prompt in expected["prompt"].numpy()]
    assert [row[0][0] for row in found] == prompts
    assert prompts[0] == text.normalise(pictures[0].prompt)
    np.testing.assert_allclose(
        [row[0][1] for row in found], expected["score"], atol=1e-5
    )


def test_beams_come_best_first_and_once(captioner, beams, pictures):
    data = [picture.image for picture in pictures]
    options = DecodingConfig(num_beams=4)
    best = CaptionerModel(*captioner, options).serve(tf.constant(data))
    found = beams.write(data)
    for row, prompt in zip(found, best["prompt"].numpy(), strict=True):
        prompts, scores = zip(*row, strict=True)
        assert prompts[0] == prompt.decode()
        assert 1 < len(set(prompts)) == len(prompts) <= 4
        assert list(scores) == sorted(scores, reverse=True)


def test_a_captioner_shows_a_view_a_word(beams, pictures):
    written = beams.describe(pictures[0].image)
    assert [word for word, _ in written.words] == written.prompts[0][0].split()
    for _, view in written.words:
        assert PIL.Image.open(io.BytesIO(view)).format == "WEBP"
    assert written.neighbours == []


def test_an_embedding_becomes_the_nearest_prompts(pictures):
    model = BankedModel(AxisModel(), PromptBank(PROMPTS, ROWS))
    writer = writers.Writer("axis", model, 2)
    written = writer.describe(pictures[0].image)
    prompts, cosines = zip(*written.prompts, strict=True)
    assert prompts == (text.normalise("Alpha, one"), "beta two")
    np.testing.assert_allclose(cosines, [1, 0.6], atol=1e-6)
    assert written.score_name == "cosine" and not written.neighbours
    assert [row[0][0] for row in writer.write([p.image for p in pictures])] == [
        prompts[0]
    ] * 2


def test_a_model_that_writes_keeps_its_prompt(pictures, monkeypatch):
    monkeypatch.setattr(prompt_embedder, "embed", lambda texts, _: ROWS[:1])
    writer = writers.Writer("writes", WritingModel(), 2, near())
    written = writer.describe(pictures[0].image)
    assert written.prompts == [("etching", 0.25)]
    assert [prompt for prompt, _ in written.neighbours] == PROMPTS[:2]


def test_a_small_bank_is_shown_whole():
    assert len(near(9).of_embeddings(ROWS[:1])[0]) == 3


def test_an_export_shows_its_one_prompt(pictures):
    class Saved(SavedPromptWriter):
        def __init__(self):
            pass

        def __call__(self, image_bytes):
            return {"prompt": [b"a car"] * len(image_bytes), "score": np.array([-0.5])}

    writer = writers.Writer("toy, version 1", Saved(), 1)
    assert writer.describe(pictures[0].image).prompts == [("a car", -0.5)]


def test_a_captioner_needs_no_embedder(tiny_run, monkeypatch, capsys):
    def refuse():
        raise ValueError("no embedder")

    made = []

    make = writers.Writer

    def remember(name, model, num_prompts, neighbours):
        made.append((num_prompts, neighbours))
        return make(name, model, num_prompts, neighbours)

    monkeypatch.setattr(prompt_embedder, "load_embedder", refuse)
    monkeypatch.setattr(bank, "training_bank", lambda folder: None)
    monkeypatch.setattr(writers, "Writer", remember)
    options = DemoConfig(run_dir=(str(tiny_run),), num_prompts=2)
    describer = describing.load_describer(options)
    assert describer.names == [Run(tiny_run).preset]
    assert made == [(2, None)]
    assert "no nearest training prompts: no embedder" in capsys.readouterr().err
    assert not describer.has_interrogator


def test_a_bank_that_was_asked_for_is_not_left_out(tiny_run, tmp_path):
    options = DemoConfig(run_dir=(str(tiny_run),), bank=str(tmp_path / "none.txt"))
    with pytest.raises(FileNotFoundError, match="the bank must be a text file"):
        describing.load_describer(options)


def name_runs(*folders):
    return describing.name_runs([Run(folder) for folder in folders])


def test_equal_presets_are_told_apart_by_folder(tiny_run, tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "config.json").write_bytes(
        (tiny_run / "config.json").read_bytes()
    )
    preset = Run(tiny_run).preset
    assert name_runs(tiny_run) == [preset]
    assert name_runs(tiny_run, tmp_path / "second") == [
        f"{preset} ({tiny_run.name})",
        f"{preset} (second)",
    ]
    assert name_runs(tiny_run, tiny_run) == [
        f"{preset} (1)",
        f"{preset} (2)",
    ]


def test_other_data_gives_no_examples(tiny_run, tmp_path):
    assert examples.write_examples([Run(tiny_run)], tmp_path) == []


def test_examples_are_of_different_prompts(
    tiny_run, tiny_shards, tmp_path, monkeypatch
):
    monkeypatch.setattr(examples.data_folder, "find_data", lambda data: tiny_shards)
    (tmp_path / "config.json").write_text('{"data": "toy"}')
    paths = examples.write_examples([Run(tmp_path)], tmp_path)
    assert len(paths) == examples.COUNT
    assert len({path.read_bytes() for path in paths}) == examples.COUNT


def test_no_toy_set_is_drawn_for_six_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_PROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toy_shards, "write_toy", None)
    (tmp_path / "config.json").write_text('{"data": "toy"}')
    paths = examples.write_examples([Run(tmp_path)], tmp_path)
    assert len({path.read_bytes() for path in paths}) == examples.COUNT
    assert not (tmp_path / "cache").exists()
    # Those of the set itself, and of prompts that no run saw.
    known = {prompt for *_, prompt in toy_shards.list_prompts("train")}
    for prompt, image in toy_shards.draw_examples("test", examples.COUNT):
        assert prompt not in known
        assert image in {path.read_bytes() for path in paths}


def toy_run(folder, tiny_run):
    """A run that says that it is of the toy set, with a small model."""
    shutil.copytree(tiny_run, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "data": "toy"}))
    return folder


def test_the_page_does_not_wait_for_training_prompts(
    tiny_run, tmp_path, monkeypatch, pictures
):
    monkeypatch.setenv("TF_PROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toy_shards, "write_toy", None)
    monkeypatch.setattr(prompt_embedder, "load_embedder", lambda: None)
    monkeypatch.setattr(prompt_embedder, "embed", lambda texts, _: ROWS[:1])
    may_go, embedded = threading.Event(), []

    def build_bank(prompts, embedder, cache):
        assert may_go.wait(60)
        embedded.extend(prompts)
        return PromptBank(PROMPTS, ROWS)

    monkeypatch.setattr(describing, "build_bank", build_bank)
    options = DemoConfig(
        run_dir=(str(toy_run(tmp_path / "run", tiny_run)),), num_prompts=2
    )
    describer = describing.load_describer(options)
    describer.start()
    data = pictures[0].image
    [written] = describer.describe(data, "a.jpg").written
    assert written.prompts[0][0] == text.normalise(pictures[0].prompt)
    assert written.neighbours == [] and not embedded
    may_go.set()
    for _ in range(600):
        [written] = describer.describe(data, "a.jpg").written
        if written.neighbours:
            break
        time.sleep(0.1)
    assert [prompt for prompt, _ in written.neighbours] == PROMPTS[:2]
    assert len(embedded) > 7000 and written.bank_name == "training prompts"


def test_a_model_in_the_background_is_waited_for(pictures):
    may_go = threading.Event()

    def make():
        assert may_go.wait(60)
        return BankedModel(AxisModel(), PromptBank(PROMPTS, ROWS))

    writer = writers.Writer("axis", background.Background(make), 1)
    threading.Timer(0.2, may_go.set).start()
    assert writer.describe(pictures[0].image).prompts[0][0] == "alpha one"


def test_a_thread_that_computes_does_not_outlive_its_process():
    program = (
        "import sys, time\n"
        "from tf_prompt.demo import background\n"
        "late = background.Background(lambda: time.sleep(600))\n"
        "assert background.leave(3) == 3\n"
        "late.start()\n"
        "print('left')\n"
        "background.leave(4)\n"
        "print('stayed')\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (4, b"left\n")


def test_what_fails_in_the_background_is_told_to_who_waits():
    def refuse():
        raise ValueError("no bank")

    late = background.Background(refuse)
    with pytest.raises(ValueError, match="no bank"):
        late.wait()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--run-dir", "a", "--saved-model", "b"], "one of --run-dir and"),
        (["--run-dir", "a", "--clip", "b"], "clip must be left out with --run-dir"),
        (["--bank", "b"], "interrogator and bank need --run-dir"),
        (["--tables", "colours"], "colours"),
        (["--run-dir", "a", "b", "c"], "run_dir must be one folder or two"),
        (["--run-dir", "a", "--port", "70000"], "port must be at most 65535"),
        (["--run-dir", "a", "--max-upload-mb", "0"], "max_upload_mb must be positive"),
    ],
)
def test_wrong_use_is_one_line(flags, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    assert message in capsys.readouterr().err


def test_gradio_is_asked_for_before_models_load(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--run-dir", "nowhere"]) == 2
    assert 'pip install "tf_prompt[demo]"' in capsys.readouterr().err


class WaitingTokens:
    are_of_clip = False


def test_no_run_interrogates_once_phrases_are_embedded(pictures, monkeypatch):
    may_go, asked = threading.Event(), []

    class Ranks:
        def decode(self, data):
            return np.zeros((4, 4, 3), np.uint8)

        def __call__(self, images):
            ranked = {"media": [("an etching", 0.2)]}
            return [Interrogated("an etching", 0.25, ranked)] * len(images)

    def embed_phrases(pair, tables, how):
        asked.append((pair[0], sorted(tables), how.mode, how.top))
        assert may_go.wait(60)
        return Ranks()

    monkeypatch.setattr(
        pretrained, "load_pretrained", lambda place: (place, WaitingTokens())
    )
    monkeypatch.setattr(pretrained, "embed_phrases", embed_phrases)
    options = DemoConfig(tables=("media",), num_prompts=3)
    describer = describing.load_describer(options)
    assert describer.names == [presets.DEFAULT] and not describer.is_ready
    threading.Timer(0.2, may_go.set).start()
    data = pictures[0].image
    found = describer.describe(data, "a.jpg")
    assert asked == [(presets.DEFAULT, ["media"], "classic", 3)]
    assert found.results[0]["similarity"] == 0.25 and describer.is_ready
    assert found.written[0].phrases == {"media": [("an etching", 0.2)]}
    [[row]] = describer.write([("a.jpg", lambda: data)])
    assert row.results[0]["phrases"] == {"media": [["an etching", 0.2]]}
    assert row.results[0]["path"] == "a.jpg"


def test_a_clip_out_of_reach_is_told_before_the_page_opens(monkeypatch, capsys):
    def refuse(place):
        raise ValueError(f"clip must be within reach. Received: {place}")

    monkeypatch.setattr(pretrained, "load_pretrained", refuse)
    assert main([]) == 2
    assert presets.DEFAULT in capsys.readouterr().err
