"""Damages files: bytes, and JSON content; the same seed gives the same damage."""

import copy
import json
import random

# What parsers stumble over: ends of ranges, other encodings, other directions.
TOKENS = (
    b"\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\r",
    b"\n\n",
    b'"',
    b",",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"-1",
    b"null",
    b'"\\ud800"',
    "\u2028".encode(),
    "\u202eشجرة \U0001f98a".encode(),
    "é".encode("latin-1"),
    b"../../etc/passwd",
    b"word " * 30_000,
)
VALUES = (
    None,
    True,
    -1,
    0,
    1.5,
    10**18,
    10**400,
    float("nan"),
    float("inf"),
    -1e308,
    "",
    "nan",
    "../../etc/passwd",
    "\ud800",
    "a\x00b",
    "word " * 10_000,
    "\u202eشجرة \U0001f98a",
    [],
    {},
    [[]],
    {"class_name": "function", "module": "os", "config": "system"},
)


def damage(chance: random.Random, data: bytes) -> bytes:
    """Damages bytes in one to four places."""
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_WAYS)(chance, data)
    return data


def damage_json(chance: random.Random, content):
    """Replaces, removes or adds values somewhere in JSON content."""
    content = json.loads(json.dumps(content))
    for _ in range(chance.randint(1, 3)):
        places = [*_places(content)]
        if not places:
            return _draw(chance)
        holder, key = chance.choice(places)
        if chance.random() < 0.2:
            del holder[key]
        elif chance.random() < 0.1 and isinstance(holder, dict):
            holder[str(_draw(chance))[:100]] = _draw(chance)
        else:
            holder[key] = _draw(chance)
    return content if chance.random() < 0.95 else _draw(chance)


def _draw(chance):
    return copy.deepcopy(chance.choice(VALUES))


def _places(content):
    if isinstance(content, dict | list):
        keys = range(len(content)) if isinstance(content, list) else list(content)
        for key in keys:
            yield content, key
            yield from _places(content[key])


def _truncate(chance, data):
    return data[: chance.randrange(len(data) + 1)]


def _flip(chance, data):
    if not data:
        return data
    flipped = bytearray(data)
    for _ in range(chance.choice((1, 1, 8, 64))):
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _overwrite(chance, data):
    place, width = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 8))
    number = chance.choice((0, 1, 2**7, 2**15 - 1, 2**31 - 1, 2**32 - 1, 2**63))
    number %= 256**width
    order = chance.choice(("big", "little"))
    return data[:place] + number.to_bytes(width, order) + data[place + width :]


def _insert(chance, data):
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(TOKENS) + data[place:]


def _remove(chance, data):
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[end:]


def _repeat(chance, data):
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] + data[end:]


def _blank(chance, data):
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + bytes(end - start) + data[end:]


def _recode(chance, data):
    text = data.decode(errors="replace")
    return text.encode(
        chance.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")), "replace"
    )


_WAYS = (_truncate, _flip, _flip, _overwrite, _overwrite, _insert, _insert)
_WAYS += (_remove, _repeat, _blank, _recode)
