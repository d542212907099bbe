"""Settings and fixtures that every test shares."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest  # noqa: E402

SHARED_DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real images with true prompts; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs real images: no ../shared/data beside the checkout")
    return SHARED_DATA
