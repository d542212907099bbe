import pytest

from tf_prompt.interrogation import table_sources


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_mode_takes_the_tables_that_go_with_it():
    tables = table_sources.read_shipped(None, "best")
    assert list(tables) == ["media", "movements", "artists", "flavours", "settings"]
    negative = table_sources.read_shipped(None, "negative")
    assert list(negative) == ["flavours", "negatives"]
    assert negative["flavours"] == tables["flavours"]
    assert all(len(table) > 50 for table in tables.values())


def test_tables_are_chosen_by_name():
    assert list(table_sources.read_shipped(["negatives", "media"], "best")) == [
        "negatives",
        "media",
    ]
    assert table_sources.read_shipped([], "best") == {}
    with pytest.raises(ValueError, match="tables must be some of media, .*: colours"):
        table_sources.read_shipped(["colours"], "best")


def test_artists_are_introduced_as_in_prompts():
    artists = table_sources.read_shipped(["artists"], "best")["artists"]
    assert "by vincent van gogh" in artists
    assert all(artist.startswith("by ") for artist in artists)


def test_files_and_folders_are_added(tmp_path):
    file = write(tmp_path / "own.txt", "one", "two")
    folder = write(tmp_path / "more" / "own.txt", "two", "three") and tmp_path / "more"
    write(folder / "media.txt", "a foo")
    found = table_sources.read_added([file, str(folder)], "best")
    assert found == {"own": ["one", "two", "three"], "media": ["a foo"]}
    joined = table_sources.join_tables({"media": ["a bar", "a foo"]}, found)
    assert joined["media"] == ["a bar", "a foo"] and joined["own"] == found["own"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="must hold .txt files"):
        table_sources.read_added([str(empty)], "best")


def test_lists_of_a_package_are_taken_where_it_is_installed(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="pip install --no-deps clip-interrogator"):
        table_sources.read_added(["clip_interrogator"], "best")
    data = tmp_path / "clip_interrogator" / "data"
    # Importing it would fail; its lists are read all the same.
    write(tmp_path / "clip_interrogator" / "__init__.py", "import torchless")
    write(data / "mediums.txt", "a 3D render")
    write(data / "movements.txt", "dada")
    write(data / "artists.txt", "A. B. Frost")
    write(data / "flavors.txt", "8k")
    write(data / "negative.txt", "blurry")
    monkeypatch.syspath_prepend(tmp_path)
    assert table_sources.read_added(["clip_interrogator"], "best") == {
        "media": ["a 3d render"],
        "movements": ["dada"],
        "artists": ["by a. b. frost"],
        "flavours": ["8k"],
    }
    found = table_sources.read_added(["clip_interrogator"], "negative")
    assert found == {"flavours": ["8k"], "negatives": ["blurry"]}
