"""What is installed, by the metadata of distributions made here."""

import pytest

from tf_prompt.runs.machine import packages


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution: its name, version and lines of metadata."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])

    def write(name, version="1.0", *lines):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *lines]
        (folder / "METADATA").write_text("\n".join(text) + "\n")

    return write


def asks(text):
    return f"Requires-Dist: {text}"


@pytest.fixture
def ours(install):
    extras = [f"Provides-Extra: {name}" for name in ("read", "gpu", "all", "test")]
    install(
        "tf_prompt",
        "0.1",
        *extras,
        asks("net>=2"),
        asks('parquet>=3; extra == "read"'),
        asks('zip; extra == "read"'),
        asks('winzip; extra == "read" and sys_platform == "win32"'),
        asks('net[cuda]>=2; extra == "gpu"'),
        asks('tf_prompt[gpu,read]; extra == "all"'),
        asks('tester; extra == "test"'),
    )


NET = ["Provides-Extra: cuda", asks("base"), asks('cublas<3; extra == "cuda"')]


def test_a_core_alone(ours, install):
    install("net", "2.1", *NET)
    core, gpu, read = packages.list_extras()
    assert core == packages.Extra("", {"net": "2.1"}, ())
    # What only another system needs is left out, and what the core has too.
    assert read == packages.Extra(
        "read", {"parquet": None, "zip": None}, ("parquet>=3", "zip")
    )
    assert gpu == packages.Extra("gpu", {"cublas": None}, ("cublas<3",))


def test_an_old_package_is_missing(ours, install):
    install("net", "1.9", *NET)
    install("parquet", "2.0")
    install("zip", "0.1")
    core, _, read = packages.list_extras()
    assert core.missing == ("net>=2",)
    assert read.packages == {"parquet": "2.0", "zip": "0.1"}
    assert read.missing == ("parquet>=3",)


def test_the_extras_of_others_are_looked_through(ours, install):
    install("net", "2.1", *NET)
    install("cublas", "2.9")
    assert packages.list_extras()[1] == packages.Extra("gpu", {"cublas": "2.9"}, ())


def test_a_folder_on_the_path_is_no_install(install):
    with pytest.raises(ValueError, match="Run there: pip install -c constraints.txt"):
        packages.list_extras()
