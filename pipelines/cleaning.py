"""Removes instructions to programs from prompts, and keeps the words."""

import re
import unicodedata

# Each of these takes time in proportion to the text, once runs of spaces are one.
# What follows is no part of the prompt: A1111's tail.
_TAIL = re.compile(r"\b(negative prompt ?:|steps: \d+, sampler:).*", re.I | re.S)
_NETWORK = re.compile(r"<(lora|lyco|locon|hypernet)\b[^<>]*>", re.IGNORECASE)
_LINK = re.compile(r"<?\bhttps?://[^\s<>]+>?")
# Midjourney's: an option, its value, and all words of one that takes them away. A
# phone makes one long dash of two.
_NO = re.compile(r"(?<!\S)(?:--|—)no\b((?! (?:--|—)[a-z]).)*", re.IGNORECASE | re.S)
_OPTION = re.compile(
    r"(?<!\S)(?:--[a-z]+\b|—[a-z]+(?= [\d.:]))"
    r"(?: (?:[\d.:]+|raw|expressive|cute|scenic|original)(?![\w-]))*",
    re.IGNORECASE,
)
# Weights: `::2` of Midjourney, `:1.2` before `AND`, and that before a bracket ends.
_PARTS = re.compile(r":: ?-?[\d.]*")
_BEFORE_AND = re.compile(r" :-?[\d.]+(?= ?(?:\bAND\b|$))")
_WEIGHT = re.compile(r" ?: ?[-+]?(?:\d+\.?\d*|\.\d+) ?$")
_LONGEST_WEIGHT = 16
# Of a bracket that was never opened.
_LOST_WEIGHT = re.compile(r"(?<=[^\s\d(]): ?[-+]?(?:\d?\.\d+|\d\.?) ?\)")
_KEYWORD = re.compile(r"\b(?:BREAK|AND)\b")
_BRACKET = re.compile(r"[()\[\]{}]")
_CLOSES = {")": "(", "]": "[", "}": "{"}
_ESCAPED = {r"\(": "\ue000", r"\)": "\ue001", r"\[": "\ue002", r"\]": "\ue003"}
_ESCAPED |= {r"\{": "\ue004", r"\}": "\ue005"}
# What a prompt must hold to hold any of these.
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
        prompt: text as the user wrote it.

    Returns:
        The prompt; one without such syntax is the same but for NFC.
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
    # Where all is in capitals, these are words like the others.
    if not prompt.isupper():
        text = _KEYWORD.sub(", ", text)
    for written, kept in _ESCAPED.items():
        text = text.replace(kept, written[1:])
    if text == before:
        return prompt
    return _COMMAS.sub(",", _SPACES.sub(" ", text)).strip(" ,")


def _open_brackets(text: str) -> str:
    """Takes brackets and their weights off; one without its other half stays."""
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
            # `[cat:dog:0.5]` and `{cat|dog}`: both words are the writer's.
            inside = _without_weight(inside, place in closed)
            inside = inside.replace("|", " ").replace(":", " ")
        pieces.append(_without_weight(inside, place in closed))
        # So that no two words become one.
        pieces.append(" " if _between_words(text, place) else "")
        if match[0] not in "()":
            depth += 1 if place in pairs else -1
        done = place + 1
    return "".join([*pieces, text[done:]])


def _find_pairs(text: str) -> dict[int, int]:
    """Places of brackets that open, and of those that close them, kind by kind."""
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
