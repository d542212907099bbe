import re

import pytest

from tests import checks
from tf_prompt import files, interrogate
from tf_prompt.interrogation import table_maker
from tf_prompt.options import DONE, WRONG_USE

PROMPTS = ["a photo of a cat, neon", "a photo of a dog, neon, by monet", "a cat, foggy"]


def write_csv(path, delimiter=",", title="prompt"):
    rows = [f'x{delimiter}"{prompt}"' for prompt in PROMPTS]
    path.write_text("\n".join([f"id{delimiter}{title}", *rows, ""]))
    return path


def run_verb(capsys, *arguments):
    code = checks.exit_code(interrogate.main, list(map(str, arguments)))
    return code, *capsys.readouterr()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_prompts_of_a_csv_are_read(tmp_path, delimiter):
    assert table_maker.read_prompts(write_csv(tmp_path / "p.csv", delimiter)) == PROMPTS


def test_prompts_of_a_text_file_are_read(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("\ufeffone, two\n\n three\r\n", encoding="utf-8")
    assert table_maker.read_prompts(path) == ["one, two", "three"]


def test_verb_makes_tables_that_phrases_takes(tmp_path, capsys):
    source, output = write_csv(tmp_path / "p.csv"), tmp_path / "tables"
    code, out, _ = run_verb(
        capsys, "--make-tables", source, "--output", output, "--min-count", 2
    )
    assert code == DONE and out == "media\t1\nsubjects\t1\nflavours\t1\n"
    assert (output / "media.txt").read_text() == "a photo\n"
    assert (output / "subjects.txt").read_text() == "a cat\n"
    assert (output / "flavours.txt").read_text() == "neon\n"


def test_what_others_wrote_stays_unless_leave_is_given(tmp_path, capsys):
    source, output = write_csv(tmp_path / "p.csv"), tmp_path / "tables"
    make = ["--make-tables", source, "--output", output]
    run_verb(capsys, *make, "--min-count", 1)
    assert (output / "artists.txt").read_text() == "by monet\n"
    own = output / "own.txt"
    own.write_text("mine\n")
    # Made again of fewer phrases: the artists are gone, what is the user's is not.
    assert run_verb(capsys, *make, "--min-count", 2)[0] == DONE
    assert not (output / "artists.txt").exists() and own.read_text() == "mine\n"
    (output / files.MANIFEST).unlink()
    (output / "media.txt").write_text("my medium\n")
    code, _, err = run_verb(capsys, *make, "--min-count", 2)
    assert code == WRONG_USE and "media.txt" in err and err.count("\n") == 1
    assert (output / "media.txt").read_text() == "my medium\n"
    assert run_verb(capsys, *make, "--min-count", 2, "--force")[0] == DONE
    assert (output / "media.txt").read_text() == "a photo\n"


def test_wrong_files_are_told_in_a_line(tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    cases = {
        tmp_path / "absent.csv": "make_tables must be a file",
        write_csv(
            tmp_path / "t.csv", title="text"
        ): "CSV with a column prompt.*id,text",
        empty: "make_tables must hold prompts",
        write_csv(tmp_path / "few.csv"): "none is in 10 of 3.*--min-count",
    }
    for path, message in cases.items():
        code, out, err = run_verb(
            capsys, "--make-tables", path, "--output", tmp_path / "out"
        )
        assert code == WRONG_USE and out == "" and err.count("\n") == 1
        assert re.search(message, err)
    assert not (tmp_path / "out").exists()
