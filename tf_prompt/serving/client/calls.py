"""Calls to a server that fail, and when to repeat them."""

import time
from collections.abc import Callable

import urllib3

# Seconds. The first retry comes at once, the next after 0.4 s, then 0.8 s and so on;
# the jitter keeps clients that failed together from coming back together.
_BACKOFF = {"backoff_factor": 0.2, "backoff_jitter": 0.2, "backoff_max": 8.0}
# Phrases in the errors of TLS libraries, and what they mean to the user.
_REASONS = {
    "IP address mismatch": "its certificate is for another address",
    "Hostname mismatch": "its certificate is for another name",
    "expired": "its certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is signed by an unknown authority; "
    "--ca-cert FILE names the authorities to trust",
    "WRONG_VERSION_NUMBER": "it does not use TLS; leave out --tls, or use http://",
    "CERTIFICATE_REQUIRED": "it asks for a certificate: --client-cert, --client-key",
}


class CallFailed(Exception):
    """A call to a server that returned no result.

    Args:
        code: name of the gRPC status, or `HTTP` and a number.
        text: error message of the server or the connection.

    Attributes:
        may_pass: whether the same call may succeed later.
        is_too_large: whether the server accepts only smaller requests.
        is_wrong: whether the server rejects the request's model or input.
        pause: seconds to wait before a retry, as the server asked.
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
    """Explains a failed TLS handshake, which a retry would not fix.

    Args:
        text: error message of the TLS library, OpenSSL or BoringSSL.
    """
    found = next((reason for sign, reason in _REASONS.items() if sign in text), None)
    return CallFailed("TLS", found or text)


def call_again(call: Callable, retries: int) -> object:
    """Calls a function until it succeeds, with exponential backoff.

    Args:
        call: function without arguments that raises `CallFailed`.
        retries: int >= 0, calls after the first.

    Returns:
        What `call` returns.

    Raises:
        CallFailed: the last failure, or the first one that a retry cannot fix.
    """
    # gRPC retries at most four times and counts all of them as one call, so that
    # both transports follow urllib3's rule.
    retry = urllib3.Retry(retries, **_BACKOFF)
    while True:
        try:
            return call()
        except CallFailed as failure:
            if not failure.may_pass:
                raise
            try:
                retry = retry.increment(error=failure)
            except urllib3.exceptions.MaxRetryError:
                raise failure from None
            time.sleep(max(retry.get_backoff_time(), failure.pause))
