"""Finds syntax in prompts that addresses a program and does not describe an image."""

import re

# Named by an example of each, which summaries and warnings show.
SYNTAX = {
    # Neither `(16:9)` nor a smiley.
    "(word:1.2)": re.compile(r"[^\s\d(]:\s*[-+]?(\d?\.\d+|\d\.?)\s*\)"),
    "[word]": re.compile(r"(?<!\\)\[[^\[\]]*\w[^\[\]]*(?<!\\)\]"),
    "<lora:name:0.8>": re.compile(r"<(lora|lyco|hypernet):[^<>]+>", re.IGNORECASE),
    "BREAK": re.compile(r"\bBREAK\b"),
    "AND": re.compile(r"\bAND\b"),
    # Midjourney's options; a phone turns two dashes into one long dash.
    "--ar 16:9": re.compile(r"(?<!\S)(--[a-z]+\b|—[a-z]+ [\d.:]+)", re.IGNORECASE),
    "Negative prompt:": re.compile(
        r"\bnegative prompt\s*:|\bsteps: \d+, sampler:", re.IGNORECASE
    ),
    r"\(word\)": re.compile(r"\\[()\[\]{}]"),
}
# A prompt without any of these contains no syntax.
_MARKS = re.compile(r"[(<\[\\]|--|—|AND|BREAK|:")


def find_syntax(prompt: str) -> list[str]:
    """Lists the kinds of syntax in a prompt, keys of `SYNTAX`.

    These are weights, networks, chunks and options of A1111's web interface and of
    Midjourney, as on Civitai. They are not part of the description of an image.
    """
    if not _MARKS.search(prompt):
        return []
    found = [name for name, pattern in SYNTAX.items() if pattern.search(prompt)]
    if prompt.isupper():
        # In a prompt all in capitals, these are ordinary words.
        found = [name for name in found if name not in ("BREAK", "AND")]
    return found
