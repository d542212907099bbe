"""What is released: a wheel and an sdist, whole, from what the Dockerfile copies."""

import configparser
import email
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from packaging.requirements import Requirement

import tf_prompt

ROOT = pathlib.Path(__file__).parents[1]
_BUILD = """
from setuptools import build_meta
build_meta.build_sdist("dist")
build_meta.build_wheel("dist")
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Folder of a wheel and an sdist, built from what the Dockerfile copies."""
    source = tmp_path_factory.mktemp("source")
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    names = " ".join(copied).split()
    for name in [*names, "MANIFEST.in", "CHANGELOG.md"]:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-W", "ignore", "-c", _BUILD]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return source / "dist"


def product_files():
    paths = (ROOT / "tf_prompt").rglob("*")
    found = {str(p.relative_to(ROOT)) for p in paths if p.is_file()}
    return {name for name in found if "__pycache__" not in name}


def test_the_wheel_holds_the_product_and_nothing_else(dist):
    (path,) = dist.glob("*.whl")
    names = zipfile.ZipFile(path).namelist()
    assert {n for n in names if ".dist-info/" not in n} == product_files()
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_the_product_too(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert product_files() <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md", "constraints.txt"} <= names
    assert not any(name.startswith("tests/") for name in names)


def test_the_version_is_that_of_the_package(dist):
    (path,) = dist.glob("*.whl")
    assert path.name == f"tf_prompt-{tf_prompt.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
        about = email.message_from_bytes(archive.read(name))
    assert about["Version"] == tf_prompt.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search("^## (.+?)[, \n]", changes, re.M)[1] == tf_prompt.__version__


def read_options():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lists = [parser["options"]["install_requires"]]
    extras = parser["options.extras_require"]
    # NVIDIA's libraries are for machines with such a GPU.
    lists += [text for name, text in extras.items() if name not in ("gpu", "all")]
    lines = "\n".join(lists).splitlines()
    return [Requirement(line) for line in lines if line and line[0] != "#"], extras


def test_what_is_pinned_is_what_is_asked_for():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and line[0] != "#")
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for wanted in read_options()[0]:
        name = wanted.name.lower().replace("_", "-")
        assert name in pins, wanted
        assert wanted.specifier.contains(pins[name]), wanted


def test_all_is_every_extra_that_runs_everywhere():
    _, extras = read_options()
    names = set(re.search(r"\[(.+)]", extras["all"])[1].split(","))
    assert names == set(extras) - {"all", "gpu", "fuzz"}


def test_python_versions_are_those_of_ci():
    """The first is that of `.ci/run`; each was tried, says docs/install.md."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    named = re.findall(r":: (3\.\d+)$", parser["metadata"]["classifiers"], re.M)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert set(named) == set(re.findall(r'"(3\.\d+)"', workflow))
