import os

import pytest

from tf_prompt.data import listing


def names_of(folder, **options):
    return [
        os.fspath(path.relative_to(folder))
        for path in listing.find_images([folder], **options)
    ]


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_find_images(tmp_path):
    fill(tmp_path, ["b.PNG", "a.webp", "notes.txt", "sub/c.jpg"])
    found = listing.find_images([tmp_path])
    assert [path.name for path in found] == ["a.webp", "b.PNG"]
    assert len(listing.find_images([tmp_path], recursive=True)) == 3
    assert listing.find_images([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]


def test_find_images_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold images"):
        listing.find_images([tmp_path])
    with pytest.raises(FileNotFoundError, match="must be a file or a folder"):
        listing.find_images([tmp_path / "absent"])


def test_folders_and_hidden_files_are_no_images(tmp_path):
    hidden = ["._0.png", ".thumb.jpg", ".ipynb_checkpoints/0-checkpoint.png"]
    fill(tmp_path, [*hidden, "forest.png/0.png", "forest.png/._0.png", "1.png"])
    assert names_of(tmp_path) == ["1.png"]
    assert names_of(tmp_path, recursive=True) == ["1.png", "forest.png/0.png"]


def test_what_is_hidden_is_read_where_it_is_named(tmp_path):
    fill(tmp_path, [".cache/0.png", ".cache/._0.png", ".a.png"])
    named = [tmp_path / ".a.png", tmp_path / ".cache"]
    assert listing.find_images(named) == [
        tmp_path / ".a.png",
        tmp_path / ".cache" / "0.png",
    ]


@pytest.mark.parametrize("folder", [".", ".."])
def test_the_folder_one_stands_in_is_not_hidden(tmp_path, monkeypatch, folder):
    fill(tmp_path, ["sub/0.png"])
    monkeypatch.chdir(tmp_path / "sub")
    (path,) = listing.find_images([folder], recursive=True)
    assert path.name == "0.png"


def test_every_ending_of_images_is_listed(tmp_path):
    read = ["a.png", "b.jpg", "c.jpeg", "d.JFIF", "e.webp", "f.gif", "g.bmp"]
    named = ["h.heic", "i.heif", "j.avif", "k.TIF", "l.tiff", "m.jxl"]
    fill(tmp_path, [*read, *named, "n.txt", "o.json"])
    assert names_of(tmp_path) == [*read, *named]


def test_links_count_as_what_they_lead_to(tmp_path):
    fill(tmp_path, ["out/0.png", "out/folder/1.png", "in/2.png"])
    for name, target in [("a.png", "0.png"), ("b.png", "folder"), ("c.png", "absent")]:
        (tmp_path / "in" / name).symlink_to(tmp_path / "out" / target)
    os.mkfifo(tmp_path / "in" / "d.png")
    # The one that leads nowhere fails when it is read, and is named.
    assert names_of(tmp_path / "in", recursive=True) == ["2.png", "a.png", "c.png"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    fill(tmp_path, ["0.png", "sub/1.png"])
    scan = os.scandir

    def refuse(path):
        if os.path.basename(path) == "sub":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names_of(tmp_path) == ["0.png"]
    with pytest.raises(PermissionError, match="sub"):
        names_of(tmp_path, recursive=True)
