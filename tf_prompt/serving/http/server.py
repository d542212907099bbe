"""Runs the application until a signal stops it."""

import contextlib
import signal
import socket

from tf_prompt.serving.http import MISSING

try:
    import uvicorn
except ImportError as error:
    raise ValueError(MISSING) from error

# Seconds for answers under way once it is told to stop.
GRACE = 30


def bind(host: str, port: int) -> socket.socket:
    """Takes an address; nothing can connect to it yet.

    Args:
        host: name or address of this machine.
        port: 0 takes a free one.

    Raises:
        OSError: if the address is not this machine's, or taken.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind)
        with contextlib.ExitStack() as stack:
            stack.callback(taken.close)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            stack.pop_all()
    except OSError as error:
        raise OSError(
            "host and port must be this machine's and free. "
            f"Received: {host}:{port}: {error.strerror or error}"
        ) from error
    return taken


class Server(uvicorn.Server):
    """Prints its address once it listens; SIGTERM and Ctrl-C end it with code 0.

    Connections are no longer taken then, and answers under way are still given.

    Args:
        app: the application.
        host: its name for the user.
    """

    def __init__(self, app, host: str):
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._host = f"[{host}]" if ":" in host else host

    async def startup(self, sockets=None) -> None:
        """See `uvicorn.Server`."""
        await super().startup(sockets=sockets)
        port = sockets[0].getsockname()[1]
        print(f"http://{self._host}:{port}  (Ctrl-C stops)", flush=True)

    def handle_exit(self, sig, frame) -> None:
        """See `uvicorn.Server`, which sends itself the signal again at its end."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
