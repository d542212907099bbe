"""How prompts are worded: each step by hand-written cases."""

import pytest

from tf_prompt.inference import wording
from tf_prompt.inference.wording import Wording, WordingConfig

CASTLE = {
    "path": "in/castle 1.png",
    "prompt": "a photo of a castle, 1,000 towers, by greg rutkowski, 8k",
    "similarity": 0.25,
    "phrases": {
        "media": [("oil painting", 0.3), ("photo", 0.2)],
        "artists": [("by greg rutkowski", 0.3), ("by a", 0.2), ("by b", 0.1)],
    },
    "embedded": {"prompt": "my castle", "seed": 7, "steps": None},
}


def word(result=CASTLE, count=None, **how):
    config = WordingConfig(**how)
    return Wording(config, ["similarity"], ["media", "artists"], count)(result)


def count_words(texts):
    """A tokenizer whose tokens are words and commas."""
    return [2 + len(text.replace(",", " ,").split()) for text in texts]


def test_a_prompt_stays_as_it_is_without_options():
    untidy = {**CASTLE, "prompt": " a ,, b ,"}
    assert word(untidy) == " a ,, b ,"


@pytest.mark.parametrize(
    "template, expected",
    [
        ("{media} of {name}", "oil painting of castle 1"),
        # What comes again stays where it came first.
        ("{artists:2}, {artists}, x, By A", "by greg rutkowski, by a, x"),
        ("{embedded}, {embedded_steps}, seed {embedded_seed}", "my castle, seed 7"),
        ("{{x}} {similarity}", "{x} 0.250"),
        ("{embedded_model}, {prompt}", CASTLE["prompt"]),
    ],
)
def test_a_template_is_filled_and_what_is_empty_leaves_no_comma(template, expected):
    assert word(template=template) == expected


@pytest.mark.parametrize(
    "template, reason",
    [
        ("{colour}", "no fields but prompt, similarity, name, embedded, "),
        ("{prompt", "must be text with fields in braces"),
        ("{prompt.x}", "must be text with fields in braces"),
        ("{0}", "must be text with fields in braces"),
        ("{prompt!r}", "must be text with fields in braces"),
        ("{media:>9}", "must be text with fields in braces"),
        ("{media:0}", "must be text with fields in braces"),
    ],
)
def test_another_template_is_refused(template, reason):
    with pytest.raises(ValueError, match=reason):
        word(template=template)


def test_excluded_words_take_their_part_but_not_the_subject():
    kept = "a of a castle, 1,000 towers"
    assert word(exclude=("photo", "Greg  Rutkowski", "8k")) == kept
    # Whole words only.
    assert word(exclude=("cast", "rut")) == CASTLE["prompt"]
    assert word(exclude=("greg rutkowski",), template="{artists:2}") == "by a, by b"


def test_words_are_replaced_in_order():
    text = word(replace=("greg rutkowski=somebody", "somebody=x=y", "8k="))
    assert text == "a photo of a castle, 1,000 towers, by x=y"
    assert word(replace=("castle, 1,000=keep of 2",)).startswith("a photo of a keep of")


def test_what_is_appended_comes_once():
    assert word(append=("8K", "artstation")) == f"{CASTLE['prompt']}, artstation"


def test_separator_stands_between_parts_and_around_are_prefix_and_suffix():
    text = word(separator=" | ", prefix="sks, ", suffix=" --ar 1:1", exclude=("by",))
    assert text == "sks, a photo of a castle | 1,000 towers | 8k --ar 1:1"


@pytest.mark.parametrize(
    "limit, expected",
    [
        # Start, end, five words of the first part; then a comma and the next part.
        (7, "a photo of a castle"),
        (10, "a photo of a castle"),
        (11, "a photo of a castle, 1,000 towers"),
        (99, CASTLE["prompt"]),
        # Not one part fits: words.
        (4, "a photo"),
    ],
)
def test_a_long_prompt_is_cut_at_a_comma(limit, expected):
    assert word(count=count_words, max_clip_tokens=limit) == expected


def test_what_is_appended_and_around_counts_and_stays():
    how = {"append": ("x",), "prefix": "p ", "suffix": " s"}
    text = word(count=count_words, max_clip_tokens=11, **how)
    assert text == "p a photo of a castle, x s"
    with pytest.raises(ValueError, match="leave room for a prompt.*Received: 4"):
        word(count=count_words, max_clip_tokens=4, **how)


def test_a_text_without_spaces_is_cut_too():
    def count_letters(texts):
        return [2 + len(text) for text in texts]

    castle = {**CASTLE, "prompt": "城" * 5000}
    assert word(castle, count_letters, max_clip_tokens=10) == "城" * 8


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"replace": ("ab",)}, "replace must be A=B. Received: ab"),
        ({"replace": ("=b",)}, "replace must be A=B. Received: =b"),
        ({"exclude": (" ",)}, "exclude must name words"),
        ({"max_clip_tokens": 2}, "max_clip_tokens must be at least 3.*Received: 2"),
    ],
)
def test_wrong_wording_is_refused(how, reason):
    with pytest.raises(ValueError, match=reason):
        WordingConfig(**how)


def test_identity_is_all_that_is_not_the_default():
    assert WordingConfig().wording_identity == {}
    config = WordingConfig(replace=("a=b",), prefix="x")
    assert config.wording_identity == {"replace": ["a=b"], "prefix": "x"}


def test_tokens_are_counted_by_a_clip_only(monkeypatch):
    class Tokens:
        are_of_clip = True

        def count(self, texts):
            return [3] * len(texts)

    config = WordingConfig(max_clip_tokens=77)
    assert wording.load_counter(WordingConfig(), Tokens()) is None
    assert wording.load_counter(config, Tokens())(["x"]) == [3]
    Tokens.are_of_clip = False
    monkeypatch.setattr(wording.presets, "DEFAULT", "no_such_preset")
    for tokens in (None, Tokens()):
        with pytest.raises(ValueError, match="needs CLIP's tokenizer"):
            wording.load_counter(config, tokens)
