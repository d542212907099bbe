"""Loads the model of a run once for several commands in one process."""

import contextlib

import pytest

from tf_prompt.inference.loading import Loader


@contextlib.contextmanager
def loading_once():
    """A context in which loaders share the models of runs, and the graphs of these.

    Most of a command's time in a test goes into both. A run that has changed, and
    other options, give another model.
    """
    load, loaded = Loader.load_run, {}

    def load_run(self, run, decoding=None, **options):
        key = (run.path, run.model_stat.st_mtime_ns, decoding, *options.items())
        if key not in loaded:
            loaded[key] = load(self, run, decoding, **options)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "load_run", load_run)
        yield


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """The same for all tests of a module that imports this fixture."""
    with loading_once():
        yield
