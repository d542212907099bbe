import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.diffusiondb import metadata
from pipelines.options import Filters
from tests.pipelines.conftest import TYPES, make_row, write_metadata

LIMITS = [
    ({}, ""),
    ({"width": 41}, "not_square"),
    ({"image_nsfw": 2.0}, "blurred"),
    ({"image_nsfw": 1.9}, ""),
    ({"cfg": -0.5}, "low_cfg"),
    ({"cfg": 0.0}, ""),
    ({"step": 9}, "few_steps"),
    ({"step": 10}, ""),
    ({"cfg": float("nan"), "image_nsfw": float("nan")}, ""),
    ({"step": 1, "image_nsfw": 2.0}, "blurred"),
]


@pytest.mark.parametrize("changes, cause", LIMITS)
def test_filters_drop_what_the_thesis_drops(changes, cause):
    rows = pd.DataFrame([make_row("a.png", "a", **changes)]).astype(TYPES)
    assert list(metadata.dropped_by(rows, Filters())) == [cause]


def test_filters_can_be_switched_off():
    changes = [changes for changes, cause in LIMITS if cause]
    rows = pd.DataFrame([make_row("a.png", "a", **c) for c in changes]).astype(TYPES)
    none = Filters(square=False, drop_blurred=False, min_cfg=-10, min_step=0)
    assert not any(metadata.dropped_by(rows, none))


def test_absent_columns_drop_nothing():
    rows = pd.DataFrame({"image_name": ["a.png"], "prompt": ["a"]})
    assert list(metadata.dropped_by(rows, Filters())) == [""]


def test_metadata_of_wanted_parts_only(tmp_path):
    path = tmp_path / "metadata.parquet"
    rows = [make_row("a.png", "über", 1), make_row("b.png", None, 2)]
    write_metadata(path, rows + [make_row("c.png", "c", 3)])
    read = metadata.read_metadata(path, [1, 2])
    assert list(read.columns) == list(metadata.COLUMNS)
    assert list(read["prompt"]) == ["über", ""]
    assert len(metadata.read_metadata(path)) == 3


def test_metadata_names_what_is_missing(tmp_path):
    path = tmp_path / "metadata.parquet"
    pd.DataFrame({"image_name": ["a"], "prompt": ["b"]}).to_parquet(path)
    with pytest.raises(ValueError, match="no column part_id, step, cfg"):
        metadata.read_metadata(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="must be DiffusionDB's parquet"):
        metadata.read_metadata(path)


def test_metadata_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "pyarrow", None)
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[ingest\]"'):
        metadata.read_metadata(tmp_path / "metadata.parquet")


@pytest.mark.parametrize(
    "column, values, message",
    [
        ("prompt", [1, 2], "prompt must hold text, not int64"),
        ("prompt", [b"a", b"b"], "prompt must hold text, not binary"),
        ("image_name", [["a"], []], "image_name must hold text, not list"),
        ("step", ["a", "b"], "step must hold numbers, not"),
        ("part_id", ["1", "2"], "part_id must hold numbers, not"),
    ],
)
def test_columns_of_another_type_are_named(tmp_path, column, values, message):
    rows = pd.DataFrame([make_row("a.png", "a"), make_row("b.png", "b")])
    path = tmp_path / "metadata.parquet"
    rows.assign(**{column: values}).to_parquet(path)
    with pytest.raises(ValueError, match=message):
        metadata.read_metadata(path, [1])


def test_absent_names_and_prompts_are_empty(tmp_path):
    rows = pd.DataFrame([make_row("a.png", "a"), make_row("b.png", "b")])
    rows = rows.assign(image_name=["a.png", None], prompt=[None, "b"])
    rows.to_parquet(tmp_path / "metadata.parquet")
    found = metadata.read_metadata(tmp_path / "metadata.parquet")
    assert list(found["image_name"]) == ["a.png", ""]
    assert list(found["prompt"]) == ["", "b"]


@pytest.mark.parametrize("note", [b"{", b"[]", b'{"index_columns": 1, "columns": [1]}'])
def test_what_pandas_noted_in_the_file_is_not_needed(tmp_path, note):
    table = pa.Table.from_pylist([make_row("a.png", "a")])
    path = tmp_path / "metadata.parquet"
    pq.write_table(table.replace_schema_metadata({b"pandas": note}), path)
    assert list(metadata.read_metadata(path)["prompt"]) == ["a"]


def test_text_that_is_no_utf8_is_refused(tmp_path):
    table = pa.Table.from_pylist([make_row("a.png", "a")])
    wrong = pa.array([b"\x80fox"]).view(pa.string())
    place = table.schema.get_field_index("prompt")
    table = table.set_column(place, "prompt", wrong)
    pq.write_table(table, tmp_path / "metadata.parquet")
    with pytest.raises(ValueError, match="Received: .*metadata.parquet.*UTF"):
        metadata.read_metadata(tmp_path / "metadata.parquet")
