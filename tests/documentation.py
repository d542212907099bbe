"""The pages of README and docs: their blocks, and what HTML comments say of these.

`<!-- needs: NAME, … -->` at the top of a page names what its folder holds at first.
Above a block stand `<!-- not run: REASON -->`, `<!-- run with: FLAGS -->`, which its
commands get behind their own flags, or `<!-- serves: URL -->`: its command goes on
in the background, once the address answers, for the blocks that follow.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"^(?:<!-- (?P<kind>not run|run with|serves): (?P<value>[^\n]+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<source>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NEEDS = re.compile(r"\A<!-- needs: (.+) -->\n")
# What only a shell understands.
_SHELL = re.compile(r"[|&;<>$`(){}]|\.\.\.|…|^(?!python -m (?:tf_prompt|pipelines)\b)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        language: behind the fence, such as `bash`.
        source: the lines between the fences.
        kind: of the comment above it, or None.
        value: what the comment says.
    """

    language: str
    source: str
    kind: str | None
    value: str | None

    @property
    def is_run(self) -> bool:
        """Whether the block holds something to run, here."""
        return self.language in ("bash", "python") and self.kind != "not run"

    @property
    def lines(self) -> list[str]:
        """The lines of a shell block, continued ones joined."""
        joined = self.source.replace("\\\n", " ").splitlines()
        return [line for line in joined if line.strip()]


def pages() -> list[pathlib.Path]:
    """The pages that people write; `export` writes the model cards."""
    cards = DOCS / "reference" / "model_cards"
    return sorted(p for p in DOCS.rglob("*.md") if cards not in p.parents)


def blocks_of(path: pathlib.Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found = [Block(**match.groupdict()) for match in _BLOCK.finditer(text)]
    # A block or comment that the pattern overlooked would go unchecked.
    assert 2 * len(found) == len(re.findall("^ *```", text, re.MULTILINE)), path
    comments = re.findall("^<!-- (?:not run|run with|serves)", text, re.MULTILINE)
    assert len(comments) == sum(block.kind is not None for block in found), path
    return found


def needs_of(path: pathlib.Path) -> list[str]:
    """What a page's folder holds before its first block."""
    found = _NEEDS.match(path.read_text(encoding="utf-8"))
    return found[1].split(", ") if found else []


def commands_of(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The plain commands of a shell block: module and arguments."""
    for line in block.lines:
        if not _SHELL.search(line):
            module, *argv = shlex.split(line, comments=True)[2:]
            yield module.replace(".demo", ".demo.__main__"), argv


def environment() -> dict[str, str]:
    """The environment of a command: this Python, this checkout, no proxy."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    root = str(ROOT)
    old = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": f"{root}{os.pathsep}{old}" if old else root,
        "no_proxy": "*",
        # A crash says where.
        "PYTHONFAULTHANDLER": "1",
    }
