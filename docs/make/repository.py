"""A hook of MkDocs: links to files outside `docs` lead to the repository."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
_LINK = re.compile(r"\]\(((?!https?:|#|mailto:)[^)#\s]+)")


def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Rewrites links of pages that are files of the repository's root.

    These pages, such as CONTRIBUTING.md, are read on GitHub too, where links start
    at the root.
    """
    included = re.fullmatch(r'--8<-- "(.+)"\s*', markdown)
    if not included:
        return markdown
    text = (ROOT / included[1]).read_text(encoding="utf-8")
    depth = page.file.src_uri.count("/")

    def lead(match: re.Match) -> str:
        if match[1].startswith("docs/"):
            return "](" + "../" * depth + match[1].removeprefix("docs/")
        return f"]({config.repo_url}/blob/main/{match[1]}"

    return _LINK.sub(lead, text)
