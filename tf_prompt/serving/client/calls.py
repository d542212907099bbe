"""One call to a server that failed, and the same call again."""

import itertools
import random
import time
from collections.abc import Callable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 8.0
# Signs in the words of TLS libraries, and what they mean to a user.
_REASONS = {
    "IP address mismatch": "its certificate is for another address",
    "Hostname mismatch": "its certificate is for another name",
    "expired": "its certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by whom you trust; "
    "--ca-cert FILE says whom to trust",
    "WRONG_VERSION_NUMBER": "it speaks in the clear; leave out --tls, or say http://",
    "CERTIFICATE_REQUIRED": "it asks for a certificate: --client-cert, --client-key",
}


class CallFailed(Exception):
    """A call to a server that gave no result.

    Args:
        code: name of the gRPC status, or `HTTP` and a number.
        text: the server's words, or those of the connection.

    Attributes:
        may_pass: whether the same call may succeed later.
        is_too_large: whether the server takes only smaller requests.
        is_wrong: whether the request itself is refused, for its model or its input.
        pause: seconds that the server asks to wait for.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        may_pass: bool = False,
        is_too_large: bool = False,
        is_wrong: bool = False,
        pause: float = 0.0,
    ):
        super().__init__(f"{code}: {text}")
        self.may_pass = may_pass
        self.is_too_large = is_too_large
        self.is_wrong = is_wrong
        self.pause = pause


def explain_handshake(text: str) -> CallFailed:
    """Says why there is no encrypted connection, which another try will not give.

    Args:
        text: words of the TLS library, OpenSSL or BoringSSL.
    """
    found = next((reason for sign, reason in _REASONS.items() if sign in text), None)
    return CallFailed("TLS", found or text)


def call_again(call: Callable, retries: int) -> object:
    """Calls until it succeeds, with pauses that double.

    Pauses are drawn, so that clients which failed together do not come back
    together.

    Args:
        call: without arguments; raises `CallFailed`.
        retries: calls after the first.

    Returns:
        What `call` returns.

    Raises:
        CallFailed: the last one, or the first that will not pass.
    """
    for attempt in itertools.count():
        try:
            return call()
        except CallFailed as failure:
            if attempt >= retries or not failure.may_pass:
                raise
            pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
            time.sleep(max(random.uniform(0.5, 1.0) * pause, failure.pause))
