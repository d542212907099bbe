"""README and the site: short, linked, in step with the commands, and built."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests import documentation
from tests.documentation import DOCS, ROOT
from tests.test_notebooks import parse
from tf_prompt.__main__ import VERBS

LANGUAGES = {"bash", "python", "text", "json", "yaml"}
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILES = [ROOT / n for n in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
FILES += [ROOT / "saved_models" / "README.md", *documentation.pages()]

each_page = pytest.mark.parametrize(
    "path", documentation.pages(), ids=lambda path: str(path.relative_to(DOCS))
)


def links_of(path):
    text = path.read_text(encoding="utf-8")
    return LINK.findall(re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL))


def anchors_of(path):
    """The names of a page's headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.strip().replace(" ", "-") for title in plain}


def test_readme_fits_and_has_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 140
    assert "pip install -c constraints.txt -e . && python -m tf_prompt.fit" in lines
    full = 'pip install -c constraints.txt -e ".[all]" && pytest -n auto'
    assert full in lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_internal_links_lead_somewhere(path):
    for link in links_of(path):
        place, _, anchor = link.partition("#")
        # Made while the site is built.
        if re.match(r"https?:", link) or (place and "reference/commands/" in link):
            continue
        target = path.parent / place if place else path
        assert target.exists(), link
        if anchor:
            # The page of another file includes it whole.
            included = re.fullmatch(r'--8<-- "(.+)"\n', target.read_text())
            found = ROOT / included[1] if included else target
            assert anchor in anchors_of(found), link


@pytest.mark.network
def test_external_links_answer():
    links = {link for path in FILES for link in links_of(path)}
    failed = []
    for link in sorted(links):
        if not link.startswith("http") or "tf-prompt/tf_prompt" in link:
            continue
        request = urllib.request.Request(link, headers={"User-Agent": "tf_prompt"})
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except (urllib.error.URLError, TimeoutError) as error:
            failed.append(f"{link}: {error}")
    assert not failed


@each_page
def test_blocks_say_what_they_are_and_what_is_not_run(path):
    for block in documentation.blocks_of(path):
        assert block.language in LANGUAGES, block.source
        assert block.kind is None or block.language in ("bash", "python")
        assert block.kind != "not run" or len(block.value) > 10


@each_page
def test_commands_understand_their_flags(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for block in documentation.blocks_of(path):
        if block.language == "python":
            ast.parse(block.source)
        elif block.language == "bash":
            for module, argv in documentation.commands_of(block):
                # Its worker options are Beam's.
                if module not in ("pipelines.beam", "tf_prompt"):
                    parse(module, argv, monkeypatch)


def test_an_unmarked_or_wrong_block_is_found(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("```bash\npython -m tf_prompt.fit --epoch 3\n```\n")
    (block,) = documentation.blocks_of(page)
    ((module, argv),) = documentation.commands_of(block)
    with pytest.raises(SystemExit):
        parse(module, argv, monkeypatch)
    assert "--epoch" in capsys.readouterr().err
    page.write_text("<!-- not run: no reason -->\nsomething\n```bash\nls\n```\n")
    with pytest.raises(AssertionError):
        documentation.blocks_of(page)


def test_pages_of_commands_hold_each_flag():
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location(
        "commands", DOCS / "make" / "commands.py"
    )
    commands = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(commands)
    navigation = (ROOT / "mkdocs.yml").read_text()
    for name in (*VERBS, *commands.PIPELINES):
        assert f"reference/commands/{name}.md" in navigation
    page = commands.render_page("predict")
    assert (
        "| `--num-beams N` | number of beams; 1 decodes greedily (default: 1) |" in page
    )
    assert "| `--[no-]json` |" in page and "| `PATH` |" in page
    assert "--image-size N" in commands.render_page("fit")


@pytest.mark.slow
def test_the_site_builds_and_asks_no_other_host(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**documentation.environment(), "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(
        r'<(?:script|img)[^>]+src="?(https?:[^"\s>]+)|'
        r'<link[^>]+rel="?(?:stylesheet|preconnect)[^>]+https?:'
    )
    for page in pages:
        assert not loaded.search(page.read_text(encoding="utf-8")), page
