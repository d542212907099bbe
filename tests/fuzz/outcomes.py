"""What became of an input: a result, or one line of ours; never anything else."""

import collections
import contextlib
import io
import resource

from tf_prompt.options import errors_of_users

# Inputs so far, by target; the summary at the end of the tests shows them.
COUNTS: collections.Counter = collections.Counter()


class Escaped(AssertionError):
    """An input ended in an exception that is none of ours."""


def outcome_of(name: str, read, *inputs) -> str:
    """Runs a reader on an input.

    Args:
        name: of the target, for the counts.
        read: what to run on `inputs`.

    Returns:
        `result` or `refused`.

    Raises:
        Escaped: for any other exception, or a message that does not tell what was
            wrong.
    """
    COUNTS[name] += 1
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            read(*inputs)
    except errors_of_users() as error:
        _check_message(error)
        return "refused"
    except AssertionError:
        raise
    except Exception as error:
        raise Escaped(f"{name}: {type(error).__name__}: {str(error)[:300]}") from error
    return "result"


def _check_message(error) -> None:
    # UnicodeDecodeError and JSONDecodeError name neither file nor argument.
    if isinstance(error, ValueError):
        ours = type(error) is ValueError and "Received" in str(error)
        if not ours:
            raise Escaped(f"{type(error).__name__}: {str(error)[:300]}") from error
    if not str(error):
        raise Escaped(f"{type(error).__name__} without a message") from error


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
