"""CSV files as people write them: each is read as it was meant, or names its line."""

import csv

import pytest

from pipelines import prompt_table, sources
from tests.pipelines.conftest import encode

PROMPTS = ["a red cat, oil", 'the "old" mill; at dawn', "two\nlines"]
STRAY = 'file,prompt\na.png,"a red cat\nb.png,a blue dog\n'


def write(tmp_path, text, name="my.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, is_image=lambda name: False):
    known = (("file",), ("prompt",))
    rows = prompt_table.read_prompt_table(path, known, is_image)
    return list(rows["image_name"]), list(rows["prompt"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semi", "tab"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_fields_are_separated_as_in_the_header(tmp_path, delimiter, encoding):
    names = [f"{letter}.png" for letter in "abc"]
    with open(tmp_path / "my.csv", "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(("note", "prompt", "file"))
        writer.writerows(("n", p, f) for p, f in zip(PROMPTS, names, strict=True))
    assert read(tmp_path / "my.csv") == (names, PROMPTS)


def test_blank_lines_and_spaces_in_titles_are_no_fault(tmp_path):
    text = "\nfile, prompt\r\n\r\na.png,None\r\n   \r\nb.png,\r\n"
    assert read(write(tmp_path, text)) == (["a.png", "b.png"], ["None", ""])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "my.csv, which is empty$"),
        ("\n\n", "my.csv, which is empty$"),
        (
            "file|prompt\na.png|a cat\n",
            r"commas, semicolons or tabs.*with file\|prompt",
        ),
        (
            "file,prompt\na.png,a red cat\nb.png,a blue dog, oil\n",
            "prompt with commas stands in.*line 3 with 3 fields, not 2$",
        ),
        (
            'file;prompt\na.png;"two\nlines"\nb.png;a dog; oil\n',
            "prompt with semicolons stands in.*line 4 with 3 fields, not 2$",
        ),
        ("file,prompt\na.png\n", "line 2 with 1 fields, not 2$"),
        (STRAY, r"quotation marks in pairs.*in line 2 \(unexpected end of data\)$"),
        (STRAY + 'c.png,a green" fish\nd.png,yellow bird\n', "in pairs.*in line 2 "),
        (STRAY + 'c.png,a green fish"\nd.png,yellow bird\n', "another row.*in line 2$"),
        (
            'prompt,file\na cat,a.png\n"a red cat,b.png\na blue dog",c.png\n',
            "another row.*in line 3$",
        ),
        (b"file,prompt\na.png,\xff\n", "must be UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(write(tmp_path, text))
    assert "\n" not in str(error.value)
    assert message == "must be UTF-8 text" or "UTF-8" not in str(error.value)


def test_prompts_of_several_lines_stay_prompts(tmp_path):
    text = 'file,prompt\na.png,"a cat,\nlike b.png\nx, y"\nx.png,a dog\n'
    expected = (["a.png", "x.png"], ["a cat,\nlike b.png\nx, y", "a dog"])
    # `x` is the word of a prompt, and the name of a picture that has its row.
    assert read(write(tmp_path, text), {"a.png", "x.png"}.__contains__) == expected


def test_rows_of_kaggle_that_are_swallowed_are_known_by_their_pictures(source_kaggle):
    text = 'imgId,prompt\n1a,"a red fox\n2b,the old mill"\n'
    (source_kaggle / "prompts.csv").write_text(text)
    with pytest.raises(ValueError, match="another row.*prompts.csv.*in line 2$"):
        sources.open_source(source_kaggle)
    listed = text + "2b,the old mill\n"
    (source_kaggle / "prompts.csv").write_text(listed)
    assert len(sources.open_source(source_kaggle).rows) == 2


def test_a_long_prompt_is_no_open_quote(tmp_path):
    (tmp_path / "a.png").write_bytes(encode())
    path = write(tmp_path, f"file,prompt\na.png,{'word ' * 50_000}\n")
    assert len(read(path)[1][0]) == 250_000
