"""Finds what the writers of prompts say to a program, not about a picture."""

import re

# By an example of each: these stand in summaries and warnings.
SYNTAX = {
    # Not `(16:9)`, and no smiley.
    "(word:1.2)": re.compile(r"[^\s\d(]:\s*[-+]?(\d?\.\d+|\d\.?)\s*\)"),
    "[word]": re.compile(r"(?<!\\)\[[^\[\]]*\w[^\[\]]*(?<!\\)\]"),
    "<lora:name:0.8>": re.compile(r"<(lora|lyco|hypernet):[^<>]+>", re.IGNORECASE),
    "BREAK": re.compile(r"\bBREAK\b"),
    "AND": re.compile(r"\bAND\b"),
    # Midjourney's; a phone makes one long dash of two.
    "--ar 16:9": re.compile(r"(?<!\S)(--[a-z]+\b|—[a-z]+ [\d.:]+)", re.IGNORECASE),
    "Negative prompt:": re.compile(
        r"\bnegative prompt\s*:|\bsteps: \d+, sampler:", re.IGNORECASE
    ),
    r"\(word\)": re.compile(r"\\[()\[\]{}]"),
}
# What a prompt must hold to hold any of these.
_MARKS = re.compile(r"[(<\[\\]|--|—|AND|BREAK|:")


def find_syntax(prompt: str) -> list[str]:
    """Lists the kinds of syntax that a prompt holds, keys of `SYNTAX`.

    Syntax of A1111's web interface and of Midjourney, as Civitai shows it: weights,
    networks, chunks, options. Its words and numbers are no part of a description.
    """
    if not _MARKS.search(prompt):
        return []
    found = [name for name, pattern in SYNTAX.items() if pattern.search(prompt)]
    if prompt.isupper():
        # Here these are words like the others.
        found = [name for name in found if name not in ("BREAK", "AND")]
    return found
