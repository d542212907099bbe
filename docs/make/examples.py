"""An extension of Griffe, mkdocstrings' reader: examples of docstrings as code."""

import re

import griffe

# A run of doctest lines: a prompt, and what follows it up to an empty line.
_EXAMPLE = re.compile(r"(^>>> (?:.+\n?)+)", re.MULTILINE)


class Examples(griffe.Extension):
    """Puts a fence around each doctest; Griffe sees one only under `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Changes the docstring of an object that was read."""
        if obj.docstring:
            text = obj.docstring.value.replace("\nExample:\n", "\n**Example**\n")
            fenced = _EXAMPLE.sub(lambda m: f"```pycon\n{m[1].rstrip()}\n```\n", text)
            obj.docstring.value = fenced
