"""A hook of MkDocs: a page for each command, made from its own options."""

import argparse
import dataclasses
import importlib
import sys
import types
from pathlib import Path

from mkdocs.structure.files import File

from tf_prompt.__main__ import VERBS
from tf_prompt.options import build_parser

PIPELINES = ("download", "inspect", "write_records", "beam")
LIST = "<!-- commands -->"
_COLUMNS = "../../how_to/batch_folders.md"
_MODULES = {"demo": "tf_prompt.demo.__main__"}


def on_config(config):
    """Lets the checkout's `pipelines`, which are not installed, be imported."""
    sys.path.insert(0, str(Path(config.config_file_path).parent))
    return config


def on_files(files, config):
    """Adds the page of each command."""
    for name in (*VERBS, *PIPELINES):
        path = f"reference/commands/{name}.md"
        files.append(File.generated(config, path, content=render_page(name)))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Lists the commands where a page asks for it."""
    rows = [
        f"| [`{module_of(name).removesuffix('.__main__')}`]({name}.md) | "
        f"{describe(name)} |"
        for name in (*VERBS, *PIPELINES)
    ]
    return markdown.replace(LIST, "\n".join(["| command | |", "|---|---|", *rows]))


def module_of(name: str) -> str:
    """The module of a command, such as `tf_prompt.fit`."""
    if name in PIPELINES:
        return f"pipelines.{name}"
    return _MODULES.get(name, f"tf_prompt.{name}")


def config_of(module: types.ModuleType) -> type:
    """The dataclass of a command's options: the last that its module defines."""
    own = [
        item
        for item in vars(module).values()
        if dataclasses.is_dataclass(item) and item.__module__ == module.__name__
    ]
    return own[-1]


def describe(name: str) -> str:
    """One sentence on what a command does."""
    config = config_of(importlib.import_module(module_of(name)))
    return config.__doc__.strip().split("\n")[0]


def render_page(name: str) -> str:
    """Writes the page of a command as Markdown."""
    module = importlib.import_module(module_of(name))
    parser = build_parser(config_of(module), name, module.EXAMPLES)
    lines = [f"# {name}", "", describe(name), "", "```text"]
    lines += [parser.format_usage().strip().removeprefix("usage: "), "```", ""]
    lines += ["Examples:", "", "```text", *module.EXAMPLES, "```"]
    # argparse has no public list of them.
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.dest != "help"]
        if actions:
            lines += ["", f"## {group.title.capitalize()}", ""]
            lines += ["| flag | |", "|---|---|"]
            lines += [_render_flag(parser, action) for action in actions]
    return "\n".join([*lines, ""])


def _render_flag(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    # As `--help` shows them: no public method gives one flag.
    formatter = parser._get_formatter()
    name = formatter._format_action_invocation(action)
    return f"| `{name}` | {_escape(formatter._expand_help(action))} |"


def _escape(text: str) -> str:
    for mark in "|<{*_":
        text = text.replace(mark, f"&#{ord(mark)};")
    # A terminal shows the name of the page, the site links it.
    return text.replace("page Batch folders", f"page [Batch folders]({_COLUMNS})")
