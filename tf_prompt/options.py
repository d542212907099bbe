"""Options as dataclasses: a flag's name, type, default and help are written once."""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import re
import select
import sys
import types
import typing
from collections.abc import Callable, Sequence

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2
# What a shell reports for a program that wrote to a closed pipe, as under `| head`.
PIPE_CLOSED = 141
# A prefix of a path within one argument, such as `knn:` or `name=`.
_BEFORE_PATH = re.compile(r"(?:[\w.-]+[=:](?=~))?")
# Addresses that no command opens: pathlib would make a folder called `s3:`.
_BUCKET = re.compile(r"([\w.-]+[=:])?(s3[an]?|gc?s|az|abfss?|wasbs?|hdfs)://")


def option(default, help_text: str, **argument):
    """Declares a dataclass field that is also a flag.

    Args:
        default: the value without the flag; `dataclasses.MISSING` requires it.
        help_text: what the flag is for, with its unit. `TITLE: what the flag is for`
            lists it under that title in the help.
        **argument: more arguments of `ArgumentParser.add_argument`, such as
            `choices`; also `positional=True` for an argument without dashes, and
            `group="input"` for the title in the help.
    """
    return dataclasses.field(default=default, metadata={"help": help_text, **argument})


def parse_args(
    config_class,
    argv: Sequence[str] | None,
    prog: str,
    examples: Sequence[str] = (),
):
    """Fills a dataclass of options from the command line.

    Args:
        config_class: dataclass whose fields come from `option`. A `tuple` field
            takes several values; the class's docstring describes the command.
        argv: arguments; None takes those of the process.
        prog: the command's name in help and errors.
        examples: commands shown at the end of the help, `python -m MODULE …`.

    Returns:
        An instance of `config_class`.

    Raises:
        SystemExit: with code 2 and one line on stderr, for a bad flag or a
            `ValueError` of the class; with code 0 after `--help`.
    """
    parser = build_parser(config_class, prog, examples)
    values = vars(parser.parse_args(argv))
    tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    try:
        return config_class(**{**values, **tuples})
    except ValueError as error:
        parser.error(str(error))


def build_parser(
    config_class, prog: str, examples: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Builds the parser of a dataclass of options; the arguments of `parse_args`."""
    found = [f for f in dataclasses.fields(config_class) if "positional" in f.metadata]
    places = [f"{f.metadata.get('metavar', f.name)}..." for f in found]
    # What can be typed, such as `python -m tf_prompt.fit`; `prog` is for errors.
    typed = examples[0].split()[:3] if examples else [prog]
    parser = _OneLineParser(
        prog=prog,
        usage=" ".join([*typed, "[FLAGS]", *places]),
        description=(config_class.__doc__ or "").strip().split("\n")[0],
        epilog="\n  ".join(["examples:", *examples]) if examples else None,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    hints = typing.get_type_hints(config_class)
    for title, fields in group_options(config_class).items():
        group = parser.add_argument_group(title)
        for field in fields:
            _add_argument(group, field, hints[field.name])
    return parser


def flags_of(config_class, values: dict) -> list[str]:
    """Turns values back into the flags that set them; None gives no flag.

    Args:
        config_class: dataclass of the flags.
        values: dict by field name, as in `config.json`; other keys are ignored.
    """
    flags = []
    for field in dataclasses.fields(config_class):
        value, flag = values.get(field.name), f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif field.metadata.get("action") == "append":
            flags.extend(f"{flag}={item}" for item in value or ())
        elif isinstance(value, list):
            flags.extend([flag, *map(str, value)] if value else ())
        elif value is not None:
            flags.append(f"{flag}={value}")
    return flags


def take_options(config_class, config):
    """Extracts an instance of `config_class` from a command's larger set of options."""
    names = [field.name for field in dataclasses.fields(config_class)]
    return config_class(**{name: getattr(config, name) for name in names})


def group_options(config_class) -> dict[str, list[dataclasses.Field]]:
    """Groups the fields of a dataclass by their title in the help.

    The groups named in its attribute `first_groups`, if any, come first; the others
    follow in the order of their first field.
    """
    first = getattr(config_class, "first_groups", ())
    groups: dict[str, list[dataclasses.Field]] = {title: [] for title in first}
    for field in dataclasses.fields(config_class):
        groups.setdefault(_split_help(field)[0], []).append(field)
    return groups


def _split_help(field) -> tuple[str, str]:
    """Returns the title and the text of an option's help."""
    text = field.metadata["help"]
    title, colon, rest = text.partition(": ")
    if "group" in field.metadata:
        return field.metadata["group"], text
    if colon and re.fullmatch(r"\w+( \w+)?", title):
        return title, rest
    return "other options", text


class _HelpFormatter(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    """Shows informative defaults, and keeps the line breaks of examples."""

    def _get_help_string(self, action):
        if action.default is True:
            return f"{action.help} (default: on)"
        # Not `in` for False, which is equal to 0.
        if action.default is False or action.default in (None, (), [], ""):
            return action.help
        return super()._get_help_string(action)

    def _format_action_invocation(self, action):
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0].replace("--", "--[no-]", 1)
        return super()._format_action_invocation(action)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(WRONG_USE, f"{self.prog}: error: {message}\n")


def _add_argument(parser, field, hint) -> None:
    argument, hint = dict(field.metadata), _without_none(hint)
    positional = argument.pop("positional", False)
    argument.pop("group", None)
    argument["help"] = _split_help(field)[1]
    argument.setdefault("metavar", {int: "N", float: "X"}.get(hint))
    name = field.name if positional else f"--{field.name.replace('_', '-')}"
    argument["default"] = field.default
    if field.default is dataclasses.MISSING:
        argument.pop("default")
        if not positional:
            argument["required"] = True
    if hint is bool:
        argument["action"] = argparse.BooleanOptionalAction
    elif typing.get_origin(hint) is tuple:
        argument["type"] = _reader_of(typing.get_args(hint)[0])
        argument.setdefault("nargs", "+" if positional else "*")
    else:
        argument["type"] = _reader_of(hint)
    if argument.get("action") == "append":
        argument.pop("nargs")
        argument["default"] = list(field.default)
    parser.add_argument(name, **argument)


def expand_home(text: str) -> str:
    """Expands `~` and `~user` as shells do, but also in `knn:~/x` and `--set a=~/x`."""
    before = _BEFORE_PATH.match(text)[0]
    return before + os.path.expanduser(text[len(before) :])


def _reader_of(hint):
    return _read_text if hint is str else hint


def _read_text(text):
    if _BUCKET.match(text):
        raise argparse.ArgumentTypeError(
            "must be on a disk or a mount: mount the bucket, or copy it before and "
            f"after (aws s3 sync, gsutil rsync). Received: {text}"
        )
    return expand_home(text)


def _without_none(hint):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(t for t in typing.get_args(hint) if t is not type(None))
    return hint


def import_tensorflow() -> None:
    """Imports TensorFlow and silences its messages about missing GPUs.

    TensorFlow 2.21 writes them to file descriptor 2 during import, whatever
    `TF_CPP_MIN_LOG_LEVEL` says. A failed import still raises. A terminal shows a line.

    Raises:
        ValueError: on a Mac with tensorflow-metal.
    """
    from importlib import metadata

    # With it TensorFlow fails from 2.20 on, see tensorflow#126360.
    metal = "tensorflow-metal"
    if sys.platform == "darwin" and any(metadata.distributions(name=metal)):
        raise ValueError(
            "tensorflow-metal must be removed: it breaks this TensorFlow, which uses "
            "the CPU of a Mac. Run: pip uninstall tensorflow-metal"
        )
    line = "loading TensorFlow" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{line}\r" if line else "")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        sys.stderr.write(" " * len(line) + "\r" if line else "")


def errors_of_users() -> tuple[type[Exception], ...]:
    """Exceptions that user input can cause; `command` reports them in one line.

    They include TensorFlow's own if it is loaded: of damaged shards for example.
    """
    tensorflow = sys.modules.get("tensorflow")
    found = getattr(getattr(tensorflow, "errors", None), "OpError", None)
    return (ValueError, OSError, *([found] if found else []))


def prepare_environment() -> None:
    """Sets the environment variables that TensorFlow and Keras read at import.

    Variables that are already set stay as they are.
    """
    # Otherwise TensorFlow logs missing GPUs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # TensorFlow enables oneDNN by default only on CPUs with AVX-512. With AVX2 it
    # makes a training step of transformer_tiny 1.6 times as fast.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Otherwise TensorFlow takes all memory of every GPU at once.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def user_cache() -> pathlib.Path:
    """Returns the folder of tf_prompt's cache, which may not exist yet.

    It is `$TF_PROMPT_CACHE`, else `tf_prompt` in `$XDG_CACHE_HOME` or `~/.cache`.
    """
    if os.environ.get("TF_PROMPT_CACHE"):
        return pathlib.Path(os.environ["TF_PROMPT_CACHE"]).expanduser()
    return cache_home() / "tf_prompt"


def cache_home() -> pathlib.Path:
    """Returns the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def command(main: Callable) -> Callable:
    """Decorates a command's `main(argv=None) -> int` with error handling.

    An exception of `errors_of_users` becomes `name: error: …` on stderr and exit code
    2; `TF_PROMPT_DEBUG=1` shows the traceback instead. Characters that the console
    cannot encode are escaped, and a closed pipe ends the command silently.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        prepare_environment()
        _print_anything()
        try:
            try:
                return main(argv)
            finally:
                # Here, because Python's flush at exit would print a complaint.
                _flush(sys.stdout)
        except errors_of_users() as error:
            if _silence_closed() and isinstance(error, BrokenPipeError):
                return PIPE_CLOSED
            if os.environ.get("TF_PROMPT_DEBUG"):
                raise
            name = main.__module__.rpartition(".")[2]
            if name == "__main__":
                path = pathlib.Path(sys.argv[0])
                # A package run with -m, such as the demo, is named after its folder.
                name = path.parent.name if path.stem == "__main__" else path.stem
            print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
            return WRONG_USE
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run


def print_json(content) -> None:
    """Prints one line of JSON, with characters that stdout cannot encode escaped."""
    line = json.dumps(content, ensure_ascii=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        # Not left to `_print_anything`: not all of its escapes are valid JSON.
        line = json.dumps(content)
    print(line, flush=True)


def _print_anything() -> None:
    """Escapes characters, as of file names, that the console cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush(stream) -> None:
    # None if the process was started without that stream.
    if stream is not None:
        stream.flush()


def _silence_closed() -> bool:
    """Redirects closed output streams to /dev/null; returns whether there were any."""
    closed = [s for s in (sys.stdout, sys.stderr) if s is not None and _is_closed(s)]
    for stream in closed:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    return bool(closed)


def _is_closed(stream) -> bool:
    try:
        stream.flush()
    except OSError:
        return True
    try:
        descriptor = stream.fileno()
    except OSError:
        # Not a file of the system, as in a notebook.
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def require_positive(config, *names: str) -> None:
    """Raises a `ValueError` unless the named fields are above zero or None."""
    _require(config, names, lambda v: v is None or v > 0, "must be positive")


def require_not_negative(config, *names: str) -> None:
    """Raises a `ValueError` unless the named fields are at least zero or None."""
    _require(config, names, lambda v: v is None or v >= 0, "must not be negative")


def require_rate(config, *names: str) -> None:
    """Raises a `ValueError` unless the named fields lie in [0, 1), or are None."""
    rule = "must be at least 0, below 1"
    _require(config, names, lambda value: value is None or 0 <= value < 1, rule)


def _require(config, names: Sequence[str], holds: Callable, rule: str) -> None:
    for name in names:
        value = getattr(config, name)
        # False for NaN under every rule.
        if not holds(value):
            raise ValueError(f"{name} {rule}. Received: {value}")
