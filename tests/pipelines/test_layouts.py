"""Every layout is recognised, and gives the same records through each command."""

import json

import pytest

from pipelines import inspect, sources
from pipelines.options import LAYOUTS
from tests.pipelines.conftest import encode
from tests.pipelines.samples import PROMPTS, SAMPLES, write_diffusiondb_zip
from tests.pipelines.test_convert import read_all
from tests.pipelines.test_write_records import run

pytestmark = pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated")


@pytest.fixture(scope="module")
def sample_of(tmp_path_factory):
    """Gives the sample of a layout."""
    made = {}

    def make(layout):
        if layout not in made:
            folder = tmp_path_factory.mktemp(layout)
            made[layout] = SAMPLES[layout](folder)
        return made[layout]

    return make


def test_there_is_a_sample_of_every_layout():
    assert set(SAMPLES) == set(LAYOUTS) == set(sources.LAYOUT_OF)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_recognised_and_its_rows_are_read(layout, sample_of):
    source = sources.open_source(sample_of(layout))
    assert source.name.startswith(layout)
    assert source.is_curated == (layout in ("diffusiondb", "kaggle", "csv"))
    found = {}
    parts = list(source.parts())
    assert [part.index for part in parts] == list(range(len(source)))
    for part in parts:
        with part.open_images() as images:
            rows = part.read_rows(images)
            assert set(rows["image_name"]) <= set(images.names)
            assert all(map(images.is_safe, images.names))
            for name, prompt in zip(rows["image_name"], rows["prompt"], strict=True):
                with images.open(name) as stream:
                    found[prompt] = stream.read()
                assert images.read(name) == found[prompt]
    assert sorted(found) == sorted(PROMPTS)
    assert len(set(found.values())) == len(PROMPTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_named_layout_is_opened_without_a_look(layout, sample_of):
    path = sample_of(layout)
    assert sources.open_source(path, layout).name == sources.open_source(path).name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_is_not_there_is_one_line(layout, tmp_path):
    with pytest.raises((ValueError, OSError)) as error:
        sources.open_source(tmp_path, layout)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert "source must be" in str(error.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_becomes_records(layout, sample_of, tmp_path, capsys):
    assert run(sample_of(layout), tmp_path / "out") == 0
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["rows"] == sum(stats["examples"].values()) == len(PROMPTS)
    records = [r for of_split in read_all(tmp_path / "out").values() for r in of_split]
    assert {r["prompt"].decode() for r in records} == set(PROMPTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_inspected(layout, sample_of, tmp_path, capsys):
    argv = ["--source", str(sample_of(layout)), "--output", str(tmp_path / "out")]
    assert inspect.main([*argv, "--processes", "1", "--images"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["rows"] == {"before": 8, "after": 8}
    assert summary["images"]["files"] == 8 and not summary["images"]["unreadable"]


def test_unpacked_parts_give_the_records_of_their_zips(sample_of, tmp_path):
    assert run(sample_of("diffusiondb"), tmp_path / "one") == 0
    assert run(write_diffusiondb_zip(tmp_path / "zip"), tmp_path / "two") == 0
    shards = [p.name for p in (tmp_path / "one").glob("*.tfrecord")]
    assert shards
    for name in shards:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_texts_of_windows_are_read(encoding, tmp_path):
    (tmp_path / "a.png").write_bytes(encode())
    (tmp_path / "a.txt").write_bytes("ein rotes Schloß\r\n".encode(encoding))
    (part,) = sources.open_source(tmp_path).parts()
    assert part.read_rows()["prompt"].tolist() == ["ein rotes Schloß"]
