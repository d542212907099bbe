"""Which filter drops a row for its prompt."""

from collections.abc import Sequence

from pipelines.options import Filters
from pipelines.scripts import find_script


def judge_prompt(prompt: str, words: Sequence[str], filters: Filters) -> str:
    """Names the filter that drops a prompt.

    Args:
        prompt: text, cleaned if that is asked for.
        words: those of the text rule. A prompt without any is bad, and not dropped.
        filters: the limits.

    Returns:
        One of `options.PROMPT_FILTERS`; empty for a prompt that is kept.
    """
    if words and len(words) < filters.min_words:
        return "few_words"
    if (
        words
        and filters.kept_scripts
        and find_script(prompt) not in filters.kept_scripts
    ):
        return "other_script"
    return ""
