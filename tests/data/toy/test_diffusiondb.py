"""The toy set in DiffusionDB's layout: its files, its types, its bad rows."""

import io
import json
import sys
import zipfile

import pytest
from PIL import Image

from tf_prompt.data.toy import diffusiondb
from tf_prompt.data.toy.diffusiondb import write_toy_diffusiondb

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusiondb")
    counts = write_toy_diffusiondb(
        folder, num_parts=3, images_per_part=20, image_size=48
    )
    return folder, pd.read_parquet(folder / "metadata.parquet"), counts


def open_part(folder, part):
    return zipfile.ZipFile(folder / "images" / f"part-{part:06d}.zip")


def test_each_part_holds_its_images_and_their_json(layout):
    folder, rows, _ = layout
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [f"part-{part:06d}.zip" for part in (1, 2, 3)]
    for part in (1, 2, 3):
        own = rows[rows["part_id"] == part]
        with open_part(folder, part) as archive:
            described = json.loads(archive.read(f"part-{part:06d}.json"))
            images = set(archive.namelist()) - {f"part-{part:06d}.json"}
        assert images == set(described) == set(own["image_name"]) and len(own) == 20
        for row in own.itertuples():
            entry = described[row.image_name]
            assert (entry["p"], entry["se"]) == (row.prompt, row.seed)
            assert (entry["c"], entry["st"]) == (row.cfg, row.step)
            assert entry["sa"] == diffusiondb.SAMPLERS[row.sampler]


def test_images_have_the_size_the_metadata_tells(layout):
    folder, rows, _ = layout
    for row in rows[rows["part_id"] == 1].itertuples():
        with open_part(folder, 1) as archive:
            image = Image.open(io.BytesIO(archive.read(row.image_name)))
        assert image.format == "PNG" and image.size == (row.width, row.height)


def test_columns_are_those_of_diffusiondb(real_data):
    # From the mini set of real images, which has the published file's types.
    real = pd.read_parquet(real_data / "diffusiondb-2m-mini" / "metadata.parquet")
    assert {name: str(kind) for name, kind in real.dtypes.items()} == (
        diffusiondb.DTYPES
    )


def test_each_filter_has_rows_to_drop(layout):
    _, rows, counts = layout
    bad = {
        "not_square": rows["width"] != rows["height"],
        "blurred": rows["image_nsfw"] == 2,
        "low_cfg": rows["cfg"] < 0,
        "few_steps": rows["step"] < 10,
    }
    assert {kind: int(found.sum()) for kind, found in bad.items()} == {
        "not_square": 4,  # 6 % of 60, rounded
        "blurred": 3,
        "low_cfg": 2,
        "few_steps": 3,
    }
    assert all(counts[kind] == found.sum() for kind, found in bad.items())
    assert sum(counts.values()) == 60


def test_duplicates_share_a_prompt_and_differ_in_seed_and_picture(layout):
    folder, rows, _ = layout
    assert len(rows) - rows["prompt"].nunique() == 6
    pictures = {}
    for part in (1, 2, 3):
        with open_part(folder, part) as archive:
            for name in archive.namelist():
                pictures[name] = archive.read(name)
    for _, group in rows[rows["prompt"].duplicated(keep=False)].groupby("prompt"):
        assert group["seed"].nunique() == len(group) > 1
        assert len({pictures[name] for name in group["image_name"]}) == len(group)


def test_equal_seeds_give_equal_zips(layout, tmp_path):
    folder, rows, _ = layout
    write_toy_diffusiondb(tmp_path, num_parts=3, images_per_part=20, image_size=48)
    for part in (1, 2, 3):
        name = f"images/part-{part:06d}.zip"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "metadata.parquet"), rows)


def test_the_command_writes_the_layout(tmp_path, capsys):
    arguments = f"--output {tmp_path} --parts 1 --images-per-part 10 --image-size 32"
    assert diffusiondb.main(arguments.split()) == 0
    assert '"not_square": 1' in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "metadata.parquet")) == 10


def test_files_of_others_are_replaced_by_force_alone(tmp_path, capsys):
    archive = tmp_path / "images" / "part-000001.zip"
    archive.parent.mkdir()
    archive.write_text("mine")
    arguments = f"--output {tmp_path} --parts 1 --images-per-part 10 --image-size 32"
    assert diffusiondb.main(arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Received: {tmp_path} with images/part-000001.zip; --force" in line
    assert archive.read_text() == "mine"
    assert diffusiondb.main([*arguments.split(), "--force"]) == 0
    assert "--force replaces images/part-000001.zip" in capsys.readouterr().err
    assert diffusiondb.main(arguments.split()) == 0


def test_too_few_images_are_refused(tmp_path, capsys):
    assert (
        diffusiondb.main(f"--output {tmp_path} --parts 1 --images-per-part 2".split())
        == 2
    )
    assert "must be at least 10. Received: 2" in capsys.readouterr().err


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[ingest\]"'):
        write_toy_diffusiondb(tmp_path)
