import pytest

from tf_prompt.data import keywords
from tf_prompt.interrogation import phrases


@pytest.mark.parametrize(
    "prompt, expected",
    [
        (
            "An oil painting of two orange cats above a red heart on the beach, in the "
            "style of Van Gogh, highly detailed",
            {
                "media": {"an oil painting"},
                "artists": {"in the style of van gogh"},
                "subjects": {"two orange cats"},
                "settings": {"above a red heart", "on the beach"},
                "flavours": {"highly detailed"},
            },
        ),
        (
            "portrait of a knight by greg rutkowski and alphonse mucha | art nouveau, "
            "cyberpunk city, (8 k:1.2)",
            {
                "media": {"portrait"},
                "artists": {"by greg rutkowski", "by alphonse mucha"},
                "movements": {"art nouveau", "cyberpunk"},
                "subjects": {"a knight"},
                "flavours": {"art nouveau", "cyberpunk city", "8 k"},
            },
        ),
        ("a group of cats", {"subjects": {"a group of cats"}}),
        ("three fish, desert, watercolor", {"media": {"watercolor"}}),
        ("", {}),
    ],
    ids=["sentence", "tags", "amount", "medium last", "empty"],
)
def test_a_prompt_is_taken_apart(prompt, expected):
    found = phrases.find_phrases(prompt)
    for table, wanted in expected.items():
        assert found[table] == wanted
    if not expected:
        assert not any(found.values())


def test_tables_count_each_prompt_once_and_rank_by_count():
    prompts = ["a cat, b, b"] * 2 + ["a dog, c"] * 3 + ["a fox, d"]
    tables = phrases.build_tables(prompts, min_count=2)
    assert tables == {"subjects": ["a dog", "a cat"], "flavours": ["c", "b"]}
    assert phrases.build_tables(prompts, min_count=2, max_phrases=1) == {
        "subjects": ["a dog"],
        "flavours": ["c"],
    }


def test_a_phrase_lies_in_one_table():
    """Whether it has its article or not."""
    prompts = ["a neon sign of a cat", "a dog, neon sign"]
    tables = phrases.build_tables(prompts, min_count=1)
    assert tables["media"] == ["a neon sign"]
    assert "flavours" not in tables


def test_an_artist_keeps_the_usual_introduction():
    prompts = ["a cat by monet"] * 2 + ["a cat in the style of monet"] * 3
    tables = phrases.build_tables(prompts, min_count=4)
    assert tables["artists"] == ["in the style of monet"]


def test_mentions_say_how_an_artist_is_introduced():
    prompt = "a castle by monet and van gogh, style of klimt"
    assert keywords.find_mentions(prompt) == {
        ("by", "monet"),
        ("by", "van gogh"),
        ("style of", "klimt"),
    }


def test_tables_are_written_and_read(tmp_path):
    tables = {"media": ["a photo", "щит"], "own": ["a  b"]}
    phrases.write_tables(tables, tmp_path / "phrases")
    files = sorted((tmp_path / "phrases").iterdir())
    assert [file.name for file in files] == ["media.txt", "own.txt"]
    assert phrases.read_tables(files) == tables


def test_files_of_users_may_be_untidy(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_bytes(b"\xef\xbb\xbf one \r\n\r\ntwo\r\none\r\n")
    assert phrases.read_tables([file]) == {"mine": ["one", "two"]}


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="phrases must be a file"):
        phrases.read_table(tmp_path / "absent.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(ValueError, match="one phrase per line"):
        phrases.read_table(empty)
    empty.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        phrases.read_table(empty)
    other = tmp_path / "other"
    other.mkdir()
    for file in (empty, other / "empty.txt"):
        file.write_text("a")
    with pytest.raises(ValueError, match="different names"):
        phrases.read_tables([empty, other / "empty.txt"])
