import pytest

from pipelines.diffusiondb import remote


def test_all_means_every_part():
    names = remote.Selection(all=True).list_files()
    assert names[:2] == ["metadata.parquet", "images/part-000001.zip"]
    assert len(names) == 2001 and names[-1] == "images/part-002000.zip"


def test_all_of_large_lies_in_two_folders():
    names = remote.Selection(all=True, large=True).list_files()
    assert len(names) == 14001 and names[0] == "metadata-large.parquet"
    assert names[10000:10002] == [
        "diffusiondb-large-part-1/part-010000.zip",
        "diffusiondb-large-part-2/part-010001.zip",
    ]
    assert names[-1] == "diffusiondb-large-part-2/part-014000.zip"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1", [1]),
        ("1-3,17", [1, 2, 3, 17]),
        ("17, 2-3,000003", [2, 3, 17]),
        ("20-20", [20]),
    ],
)
def test_parts_are_numbers_and_inclusive_ranges(text, expected):
    assert remote.parse_parts(text, 20) == expected


@pytest.mark.parametrize("text", ["", "1,,2", "one", "-1", "1-", "1-2-3", "1.5", "²"])
def test_parts_of_another_form_are_refused(text):
    with pytest.raises(ValueError, match="parts must be numbers and ranges") as error:
        remote.parse_parts(text, 20)
    assert str(error.value).endswith(f"Received: {text!r}")


@pytest.mark.parametrize("text", ["0", "21", "0-3", "19-21", "3-1", "1-999999999"])
def test_parts_that_are_not_there_are_refused(text):
    with pytest.raises(ValueError, match="parts must lie within 1-20") as error:
        remote.parse_parts(f"2,{text}", 20)
    assert str(error.value).endswith(f"Received: {text}")
