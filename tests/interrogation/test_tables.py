"""The tables of phrases that the package ships."""

import collections
import pathlib
import re
import unicodedata

import pytest

from tf_prompt.interrogation import phrases

FOLDER = pathlib.Path(phrases.__file__).parent / "tables"
LEAST = {
    "media": 120,
    "artists": 2000,
    "movements": 200,
    "settings": 300,
    "flavours": 1500,
    "negatives": 60,
}


def read_lines(table):
    return (FOLDER / f"{table}.txt").read_text(encoding="utf-8").split("\n")[:-1]


def reduce_phrase(phrase):
    """Leaves out what two spellings of one phrase may differ in."""
    bare = re.sub(r"^(?:an?|the|by|in the style of) ", "", phrase.casefold())
    letters = unicodedata.normalize("NFKD", bare)
    return "".join(c for c in letters if c.isalnum() or c in "/+")


def find_flaws(phrase):
    checks = {
        "empty": not phrase,
        "not lower-case": phrase != phrase.lower(),
        "spaces": phrase != " ".join(phrase.split()),
        "comma": "," in phrase,
        "not NFC": not unicodedata.is_normalized("NFC", phrase),
        "control character": any(unicodedata.category(c)[0] == "C" for c in phrase),
    }
    return [name for name, is_wrong in checks.items() if is_wrong]


def find_repeats(tables):
    places = collections.defaultdict(list)
    for table, lines in tables.items():
        for phrase in lines:
            places[reduce_phrase(phrase)].append(f"{table}: {phrase}")
    return [found for found in places.values() if len(found) > 1]


@pytest.mark.parametrize("table", LEAST)
def test_a_table_has_enough_phrases_sorted_and_in_one_form(table):
    lines = read_lines(table)
    assert len(lines) >= LEAST[table]
    flaws = {phrase: find_flaws(phrase) for phrase in lines if find_flaws(phrase)}
    assert not flaws
    assert lines == sorted(lines)
    assert phrases.read_table(FOLDER / f"{table}.txt") == lines


def test_no_phrase_stands_twice_in_all_tables():
    """Whatever its article, accents, hyphens and spaces."""
    assert not find_repeats({table: read_lines(table) for table in LEAST})


def test_repeats_are_found_within_tables_and_across():
    assert find_repeats({"media": ["a pin-up"], "flavours": ["pinup", "pin", "x"]}) == [
        ["media: a pin-up", "flavours: pinup"]
    ]
    assert find_repeats({"artists": ["by joan miro", "joan miró"]})


@pytest.mark.parametrize("phrase", ["", "Oil", " a", "a  b", "a, b", "e\u0301", "a\t"])
def test_bad_forms_are_found(phrase):
    assert find_flaws(phrase)


def test_the_folder_holds_no_other_table():
    stems = {path.stem for path in FOLDER.glob("*.txt")}
    assert stems == {*LEAST, "NOTICE"}
