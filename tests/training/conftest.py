"""What tests of training share."""

import pytest


@pytest.fixture
def shards(tiny_shards, tmp_path):
    """A folder of its own with `tiny_shards`, for what is kept beside shards."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in tiny_shards.glob("*.tfrecord"):
        (folder / path.name).symlink_to(path)
    return folder
