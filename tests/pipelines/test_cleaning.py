"""Prompts lose their syntax, keep their words, and stay as they are without it."""

import time

import pytest

from pipelines.cleaning import clean_prompt
from pipelines.syntax import find_syntax


@pytest.mark.parametrize(
    "prompt, cleaned",
    [
        ("a (red:1.2) cat", "a red cat"),
        ("((best quality)), [ugly], {soft}", "best quality, ugly, soft"),
        ("(a (deep:1.3) one:0.9)", "a deep one"),
        ("a [cat:dog:0.5] and {red|blue}", "a cat dog and red blue"),
        ("super(man), (one)(two:1.1)three", "super man, one two three"),
        ("a cat <lora:x_y:0.8>, oil", "a cat, oil"),
        ("<lyco:a:1><hypernet:b:0.5>", ""),
        ("a cat BREAK a dog AND a bird", "a cat, a dog, a bird"),
        ("a cat :1.2 AND a dog :-0.5", "a cat, a dog"),
        ("a cat --ar 16:9 --v 5.2 --style raw", "a cat"),
        ("a cat --no trees, text --q 2, oil", "a cat, oil"),
        ("a cat —ar 3:2", "a cat"),
        ("hot dog::2 food::-1", "hot dog, food"),
        ("https://s.mj.run/x.png a cat", "a cat"),
        ("a cat\nNegative prompt: ugly\nSteps: 20, Sampler: Euler", "a cat"),
        ("a cat\nSteps: 20, Sampler: Euler", "a cat"),
        (r"fate \(series\), (girl:1.1)", "fate (series), girl"),
        ("lost weight:1.2), here", "lost weight, here"),
        ("cafe\u0301 (x)", "café x"),
    ],
)
def test_syntax_goes_and_words_stay(prompt, cleaned):
    assert clean_prompt(prompt) == cleaned
    assert find_syntax(cleaned) == []


@pytest.mark.parametrize(
    "prompt",
    [
        "a  cat ,  8k",
        "A CAT AND A DOG",
        "ratio 16:9 at 8:30, a -- b",
        "one (open bracket",
        "a smile :)",
        "5 < 6 > 4",
        "",
        "well-known—ar",
    ],
)
def test_a_prompt_without_syntax_stays_as_it_is(prompt):
    assert clean_prompt(prompt) == prompt


def test_letters_are_composed():
    assert clean_prompt("cafe\u0301") == "café"


@pytest.mark.parametrize(
    "prompt",
    ["(" * 20000 + ")" * 20000, "--no " * 9000, "(" + " ," * 20000 + "(", "[a:" * 9000]
    + ["a ::" + " " * 50000 + "(", "<lora:" * 9000, "negative prompt" * 4000]
    + [" :1" * 20000 + "(", "steps: 1, " * 9000, "--a " + "1 " * 30000],
    ids=lambda prompt: prompt[:8],
)
def test_time_is_in_proportion_to_length(prompt):
    start = time.process_time()
    clean_prompt(prompt)
    assert time.process_time() - start < 2
