"""HTML of results: nothing that a visitor or a model wrote becomes markup."""

import base64

from tf_prompt.demo import markup
from tf_prompt.demo.describing import BatchRow
from tf_prompt.demo.writers import Written

EVIL = '<img src=x onerror=alert(1)> & "quoted"'


def test_texts_are_escaped_everywhere():
    written = Written([(EVIL, -0.5)], EVIL, [(EVIL, b"view")], [(EVIL, 0.5)], EVIL)
    rows = [BatchRow(EVIL, [(EVIL, -0.5)]), BatchRow(EVIL, [], EVIL)]
    pages = [
        markup.written(written),
        markup.phrases({EVIL: [(EVIL, 0.25)]}),
        markup.batch(rows, [EVIL], 2),
        markup.error(EVIL),
        markup.hint(EVIL),
    ]
    for page in pages:
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page
        assert '"quoted"' not in page


def test_a_result_shows_scores_attention_and_neighbours():
    written = Written(
        [("a red car", -0.1234), ("", -2.0)],
        "mean log-probability per word",
        [("red", b"view")],
        [("two red cars", 0.8765)],
        "training prompts",
    )
    page = markup.written(written)
    assert page.index("a red car") < page.index("-0.123") < page.index("(no word)")
    assert base64.b64encode(b"view").decode() in page
    assert 'alt="where the model looked for red"' in page
    assert "Nearest training prompts" in page
    assert "0.876" in page or "0.877" in page


def test_what_a_model_does_not_say_has_no_heading():
    page = markup.written(Written([("a red car", 0.5)], "cosine"))
    assert "Attention" not in page
    assert "Nearest" not in page


def test_a_batch_counts_bad_files():
    rows = [
        BatchRow("a.png", [("a car", -0.5), ("a fish", -0.25)]),
        BatchRow("b.png", [], "b.png is bad."),
    ]
    page = markup.batch(rows, ["one", "two"], 5)
    assert "2 of 5 files, 1 not read" in page
    assert 'colspan="2">b.png is bad.' in page
    assert 'data-model="two">a fish' in page


def test_tables_of_phrases_get_readable_names():
    page = markup.phrases({"art_movements": [("cubism", 0.25)]})
    assert "Art movements" in page
    assert "0.250" in page
