"""Removes the syntax of programs from prompts, and keeps the words."""

import re
import unicodedata

# Each of these takes linear time, once runs of spaces are collapsed to one.
# A1111's settings after the prompt, with all that follows.
_TAIL = re.compile(r"\b(negative prompt ?:|steps: \d+, sampler:).*", re.I | re.S)
_NETWORK = re.compile(r"<(lora|lyco|locon|hypernet)\b[^<>]*>", re.IGNORECASE)
_LINK = re.compile(r"<?\bhttps?://[^\s<>]+>?")
# Midjourney's options and their values, and `--no` with all words that it excludes. A
# phone turns two dashes into one long dash.
_NO = re.compile(r"(?<!\S)(?:--|—)no\b((?! (?:--|—)[a-z]).)*", re.IGNORECASE | re.S)
_OPTION = re.compile(
    r"(?<!\S)(?:--[a-z]+\b|—[a-z]+(?= [\d.:]))"
    r"(?: (?:[\d.:]+|raw|expressive|cute|scenic|original)(?![\w-]))*",
    re.IGNORECASE,
)
# Weights: Midjourney's `::2`, and `:1.2` before `AND` or a closing bracket.
_PARTS = re.compile(r":: ?-?[\d.]*")
_BEFORE_AND = re.compile(r" :-?[\d.]+(?= ?(?:\bAND\b|$))")
_WEIGHT = re.compile(r" ?: ?[-+]?(?:\d+\.?\d*|\.\d+) ?$")
_LONGEST_WEIGHT = 16
# The weight of a bracket that was never opened.
_LOST_WEIGHT = re.compile(r"(?<=[^\s\d(]): ?[-+]?(?:\d?\.\d+|\d\.?) ?\)")
_KEYWORD = re.compile(r"\b(?:BREAK|AND)\b")
_BRACKET = re.compile(r"[()\[\]{}]")
_CLOSES = {")": "(", "]": "[", "}": "{"}
_ESCAPED = {r"\(": "\ue000", r"\)": "\ue001", r"\[": "\ue002", r"\]": "\ue003"}
_ESCAPED |= {r"\{": "\ue004", r"\}": "\ue005"}
# A prompt without any of these contains no syntax.
_MARKS = re.compile(
    r"[(\[{<\\]|--|—|:[:\s\d.+-]|AND|BREAK|https?:|negative prompt|steps:", re.I
)
_SPACES = re.compile(r"\s+")
_COMMAS = re.compile(r"(?: ?,)+")


def clean_prompt(prompt: str) -> str:
    """Drops the syntax of A1111, ComfyUI and Midjourney from a prompt.

    Weights, brackets, networks, links, options and a negative prompt are removed. All
    other words keep their order, even alternatives among which a program would choose
    or blend. An escaped bracket becomes a bracket. Letters are composed (NFC).

    Args:
        prompt: the original text.

    Returns:
        The cleaned prompt; without such syntax, only NFC may change it.
    """
    prompt = unicodedata.normalize("NFC", prompt)
    if not _MARKS.search(prompt):
        return prompt
    before = text = _SPACES.sub(" ", prompt)
    text = _LINK.sub(" ", _NETWORK.sub(" ", _TAIL.sub("", text)))
    for written, kept in _ESCAPED.items():
        text = text.replace(written, kept)
    text = _OPTION.sub(" ", _NO.sub(" ", text))
    text = _open_brackets(_PARTS.sub(", ", _BEFORE_AND.sub("", text)))
    text = _LOST_WEIGHT.sub("", text)
    # In a prompt all in capitals, these are ordinary words.
    if not prompt.isupper():
        text = _KEYWORD.sub(", ", text)
    for written, kept in _ESCAPED.items():
        text = text.replace(kept, written[1:])
    if text == before:
        return prompt
    return _COMMAS.sub(",", _SPACES.sub(" ", text)).strip(" ,")


def _open_brackets(text: str) -> str:
    """Removes brackets and their weights; an unpaired bracket stays."""
    pairs = _find_pairs(text)
    if not pairs:
        return text
    closed = set(pairs.values())
    pieces, done, depth = [], 0, 0
    for match in _BRACKET.finditer(text):
        place = match.start()
        if place not in pairs and place not in closed:
            continue
        inside = text[done:place]
        if depth:
            # `[cat:dog:0.5]` and `{cat|dog}`: both words are part of the prompt.
            inside = _without_weight(inside, place in closed)
            inside = inside.replace("|", " ").replace(":", " ")
        pieces.append(_without_weight(inside, place in closed))
        # A space, so that two words do not become one.
        pieces.append(" " if _between_words(text, place) else "")
        if match[0] not in "()":
            depth += 1 if place in pairs else -1
        done = place + 1
    return "".join([*pieces, text[done:]])


def _find_pairs(text: str) -> dict[int, int]:
    """Maps places of opening brackets to those of the brackets that close them."""
    pairs, opened = {}, {"(": [], "[": [], "{": []}
    for match in _BRACKET.finditer(text):
        if match[0] in opened:
            opened[match[0]].append(match.start())
        elif places := opened[_CLOSES[match[0]]]:
            pairs[places.pop()] = match.start()
    return pairs


def _without_weight(text: str, is_end: bool) -> str:
    if not is_end:
        return text
    head, tail = text[:-_LONGEST_WEIGHT], text[-_LONGEST_WEIGHT:]
    return head + _WEIGHT.sub("", tail)


def _between_words(text: str, place: int) -> bool:
    before, behind = text[max(0, place - 1) : place], text[place + 1 : place + 2]
    return before not in ("", " ", "(", "[", "{") and behind not in ("", " ", ",", ".")
