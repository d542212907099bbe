"""Every example of a public docstring runs, and every public name has one."""

import doctest
import functools
import inspect
import typing

import PIL.Image
import pytest

import tf_prompt
from tf_prompt import api
from tf_prompt.metrics import prompt_embedder

# Public names without an example, and why.
WITHOUT = {
    "Interrogated": "the example of Interrogator shows one",
    "Interrogator.from_preset": "needs a pretrained CLIP",
    "push": "needs a hub",
    "Run.model_stat": "tells caches whether they are current",
    "Run.modifiers": "needs a tagger's run",
}
PACKAGE = tf_prompt.__name__


def find_public() -> dict:
    """Names with docstrings: those of the package, and the classes these return."""
    found, waiting = {}, [getattr(tf_prompt, name) for name in tf_prompt.__all__]
    while waiting:
        item = waiting.pop()
        if item.__name__ in found:
            continue
        found[item.__name__] = item
        if inspect.isclass(item):
            for name, member in list_members(item).items():
                found[f"{item.__name__}.{name}"] = member
                waiting += list_returned(member)
        else:
            waiting += list_returned(item)
    return found


def list_members(item: type) -> dict:
    """What a class itself defines: methods and properties."""
    found = {
        name: getattr(member, "__func__", member)
        for name, member in vars(item).items()
        if not name.startswith("_")
    }
    return {name: m for name, m in found.items() if is_property(m) or callable(m)}


def is_property(member) -> bool:
    return isinstance(member, property | functools.cached_property)


def list_returned(function) -> list:
    """Classes of this package that a function says it returns, lists of them too."""
    if is_property(function):
        return []
    hint = typing.get_type_hints(function).get("return")
    return [
        part
        for part in (hint, *typing.get_args(hint))
        if inspect.isclass(part) and part.__module__.startswith(f"{PACKAGE}.")
    ]


PUBLIC = find_public()


def parse(name: str) -> doctest.DocTest:
    docstring = inspect.getdoc(PUBLIC[name]) or ""
    names = {PACKAGE: tf_prompt, "PIL": PIL}
    return doctest.DocTestParser().get_doctest(docstring, names, name, None, None)


# Building the graph of a training step takes 18 s, which `test_api` does by default.
SLOW = {"train"}
WITH_EXAMPLES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in PUBLIC
    if parse(name).examples
]


def run_example(test: doctest.DocTest) -> str:
    """Runs an example; returns what went wrong, or an empty string."""
    lines: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=lines.append)
    return "".join(lines)


@pytest.fixture(scope="module")
def load_once():
    """`tf_prompt.load`, which compiles a model only once for all examples."""
    return functools.cache(api.load)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_example_runs(name, workplace, minilm, load_once, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(prompt_embedder, "load_embedder", lambda: minilm)
    monkeypatch.setattr(api, "load", load_once)
    assert not (failure := run_example(parse(name))), failure


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_an_example(name):
    owner, _, method = name.partition(".")
    # The example of a class may show its methods.
    shown = method and any(f".{method}" in e.source for e in parse(owner).examples)
    has_example = bool(parse(name).examples or shown)
    assert has_example != (name in WITHOUT), WITHOUT.get(name, "needs an example")


def test_failed_examples_are_noticed():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3", {}, "wrong", "", 0)
    assert "Expected" in run_example(wrong)
