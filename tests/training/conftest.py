"""What tests of training share."""

import pytest

from tests.conftest import copy_shards


@pytest.fixture
def shards(tiny_shards, tmp_path):
    """A folder of its own with `tiny_shards`, for what is kept beside shards."""
    return copy_shards(tiny_shards, tmp_path / "shards")
