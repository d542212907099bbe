"""Which filters drop a row for its prompt."""

from collections.abc import Sequence

from pipelines.options import Filters
from pipelines.scripts import find_script


def judge_prompt(prompt: str, words: Sequence[str], filters: Filters) -> list[str]:
    """Names the filters that drop a prompt.

    Args:
        prompt: the text, cleaned if wanted.
        words: its words by the text rule. Without any, no filter drops the prompt,
            because it is rejected later.
        filters: the limits.

    Returns:
        Some of `options.PROMPT_FILTERS`, in their order.
    """
    if not words:
        return []
    found = ["few_words"] if len(words) < filters.min_words else []
    scripts = filters.kept_scripts
    if scripts and find_script(prompt) not in scripts:
        found.append("other_script")
    return found
