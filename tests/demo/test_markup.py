"""HTML of results: nothing that a visitor or a model wrote becomes markup."""

import base64

from tf_prompt.demo import markup
from tf_prompt.demo.batch_files import BatchRow
from tf_prompt.demo.writers import Written

EVIL = '<img src=x onerror=alert(1)> & "quoted"'


def result(name, *prompts, **more):
    rows = [{"prompt": prompt, "score": -0.5, **more} for prompt in prompts]
    return BatchRow(name, rows)


def test_texts_are_escaped_everywhere():
    written = Written([(EVIL, -0.5)], EVIL, [(EVIL, b"view")], [(EVIL, 0.5)], EVIL)
    said = {"embedded": {"prompt": EVIL, "seed": None}}
    ranked = Written([("a", 0.5)], EVIL, phrases={EVIL: [(EVIL, 0.25)]})
    rows = [result(EVIL, EVIL, **said), BatchRow(EVIL, [], EVIL)]
    pages = [
        markup.embedded({"prompt": EVIL}),
        markup.written(ranked),
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
        "mean log-probability a word",
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
        result("a.png", "a car", "a fish"),
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


def test_only_a_batch_that_says_something_itself_has_a_column_for_it():
    said = {"embedded": {"prompt": "a castle"}}
    page = markup.batch([result("a", "x"), result("b", "y", **said)], ["m"], 2)
    assert "The file itself says" in page and page.count("a castle") == 1
    assert "itself" not in markup.batch([result("a", "x")], ["m"], 1)


def test_settings_that_a_file_leaves_out_are_not_shown():
    page = markup.embedded({"prompt": "x", "negative_prompt": None, "seed": 0})
    assert "<dt>Seed</dt><dd>0</dd>" in page and "Negative" not in page


def test_a_prompt_made_of_phrases_is_not_shown_twice():
    ranked = Written([("a fox", 0.25)], "similarity by CLIP", phrases={"media": []})
    page = markup.written(ranked)
    assert "Similarity by CLIP: 0.250" in page and "a fox" not in page
