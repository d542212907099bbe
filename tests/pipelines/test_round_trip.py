"""What `predict` writes about the images of any layout is a source again."""

import json
import pathlib

import pytest

from pipelines import inspect, sources, write_records
from pipelines.options import LAYOUTS
from tests.conftest import SMALL_TRANSFORMER
from tests.pipelines.samples import PROMPTS, SAMPLES
from tests.pipelines.test_convert import read_all
from tf_prompt import fit, predict

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


def write(source, output, *flags):
    """Runs `write_records`; gives the prompt of each image by its bare name."""
    argv = ["--source", source, "--output", output, "--image-size", "32"]
    argv += ["--processes", "1", "--validation", "0.3", "--test", "0.2", *flags]
    assert write_records.main([str(word) for word in argv]) == 0
    records = [r for of_split in read_all(output).values() for r in of_split]
    prompt_of = {
        pathlib.Path(r["image_id"].decode()).stem: r["prompt"].decode() for r in records
    }
    assert len(prompt_of) == len(records)
    return prompt_of


def unpack(source, folder):
    """Writes the images of a source as files, since `predict` takes no others."""
    folder.mkdir()
    for part in sources.open_source(source).parts():
        with part.open_images() as images:
            for name in images.names:
                place = folder / pathlib.Path(name).name
                place.write_bytes(images.read(name))
    assert len(list(folder.iterdir())) == len(PROMPTS)
    return folder


def predict_everywhere(run_dir, pictures, output):
    """Runs `predict` with all its outputs; gives their places and the prompts."""
    places = {
        "csv": output / "out.csv",
        "jsonl": output / "out.jsonl",
        "embedded": output / "copies",
        "sidecar": pictures,
    }
    argv = ["--run-dir", run_dir, pictures, "--sidecar", "--min-words", "2"]
    argv += ["--csv", places["csv"], "--jsonl", places["jsonl"]]
    argv += ["--write-metadata", places["embedded"]]
    assert predict.main([str(word) for word in argv]) == 0
    rows = [json.loads(line) for line in places["jsonl"].read_text().splitlines()]
    return places, {pathlib.Path(row["path"]).stem: row["prompt"] for row in rows}


def read_back(places, prompt_of, output, of_copies=None):
    for layout, place in places.items():
        assert sources.open_source(place).name == layout
        expected = of_copies if of_copies and layout == "embedded" else prompt_of
        assert write(place, output / layout) == expected


def test_all_that_predict_writes_is_read_back(tiny_run, tmp_path):
    pictures = unpack(SAMPLES["parquet"](tmp_path / "in"), tmp_path / "pictures")
    places, prompt_of = predict_everywhere(tiny_run, pictures, tmp_path)
    assert len(prompt_of) == len(PROMPTS) and all(prompt_of.values())
    read_back(places, prompt_of, tmp_path / "back")


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    # A table, a tar and a folder for every change; the others each week.
    [
        layout
        if layout in ("parquet", "webdataset", "embedded")
        else pytest.param(layout, marks=pytest.mark.long)
        for layout in LAYOUTS
    ],
)
def test_layout_goes_all_the_way_and_back_in(layout, tmp_path, monkeypatch):
    # Its measuring, which reads no more of the shards, takes most of the time.
    monkeypatch.setattr(fit, "report", lambda run_dir: None)
    source = SAMPLES[layout](tmp_path / "in")
    argv = ["--source", str(source), "--output", str(tmp_path / "report")]
    assert inspect.main([*argv, "--processes", "1", "--images"]) == 0
    true = write(source, tmp_path / "shards")
    assert set(true.values()) == set(PROMPTS)
    argv = ["--data", str(tmp_path / "shards"), "--run-dir", str(tmp_path / "run")]
    argv += ["--epochs", "1", "--batch-size", "2"]
    argv += [word for pair in SMALL_TRANSFORMER for word in ("--set", pair)]
    assert fit.main(argv) == 0
    pictures = unpack(source, tmp_path / "pictures")
    places, prompt_of = predict_everywhere(tmp_path / "run", pictures, tmp_path)
    assert len(prompt_of) == len(PROMPTS)
    # A copy keeps the prompt that another program left, and that goes before ours.
    of_copies = true if layout == "embedded" else None
    read_back(places, prompt_of, tmp_path / "back", of_copies)
