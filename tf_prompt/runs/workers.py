"""The processes of one job, as described by `TF_CONFIG` or `--share`."""

import dataclasses
import json
import os
import socket
import time
from collections.abc import Mapping

# Roles that train, in the order of their numbers.
_ROLES = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes that train, or evaluate, together.

    Args:
        index: int >= 0, number of this process; 0 is the chief.
        addresses: `HOST:PORT` of each process.
    """

    index: int
    addresses: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of processes."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.index == 0

    def share_of(self, size: int) -> range:
        """Returns this process's part of `range(size)`; the parts do not overlap."""
        return range(
            self.index * size // self.count, (self.index + 1) * size // self.count
        )


def read_tf_config(environ: Mapping[str, str] | None = None) -> Workers | None:
    """Reads the cluster from the environment variable `TF_CONFIG`.

    Vertex AI and Kubeflow set it and TensorFlow reads it: JSON with `cluster`, the
    addresses of `chief` and `worker`, and `task`, the `type` and `index` of this
    process. A chief counts as worker 0.

    Args:
        environ: the environment; None takes that of the process.

    Returns:
        `Workers`, or None if the variable is unset or empty.

    Raises:
        ValueError: naming TF_CONFIG and what is wrong with it.
    """
    content = (os.environ if environ is None else environ).get("TF_CONFIG", "")
    if not content.strip():
        return None
    try:
        found = json.loads(content)
    except ValueError:
        raise ValueError(f"TF_CONFIG must be JSON. Received: {content[:80]}") from None
    cluster = found.get("cluster") if isinstance(found, dict) else None
    if not isinstance(cluster, dict) or not any(cluster.get(r) for r in _ROLES):
        raise ValueError(
            "TF_CONFIG must name a cluster with a chief or workers. "
            f"Received: {content[:80]}"
        )
    addresses = [(role, a) for role in _ROLES for a in cluster.get(role, ())]
    for _, address in addresses:
        if not isinstance(address, str) or not address.rpartition(":")[2].isdigit():
            raise ValueError(
                f"TF_CONFIG must give addresses as HOST:PORT. Received: {address}"
            )
    return Workers(
        _find_task(found.get("task"), [role for role, _ in addresses]),
        tuple(address for _, address in addresses),
    )


def _find_task(task, roles) -> int:
    """Number of the task among all processes, whose types are in `roles`."""
    role, number = (task.get("type"), task.get("index")) if task else (None, None)
    if role not in roles:
        raise ValueError(
            f"TF_CONFIG must have a task of type {' or '.join(dict.fromkeys(roles))}. "
            f"Received: {task}"
        )
    try:
        # Some launchers write the number as a string.
        number = int(number)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < roles.count(role):
        raise ValueError(
            f"TF_CONFIG must have a task index from 0 to {roles.count(role) - 1}, "
            f"of the {role}s in its cluster. Received: {task}"
        )
    return roles.index(role) + number


def parse_share(text: str | None) -> Workers | None:
    """Reads `INDEX/COUNT`, such as `0/4`; None reads `TF_CONFIG`.

    Returns:
        `Workers`, or None for a single process.

    Raises:
        ValueError: if it has neither form.
    """
    if text is None:
        found = read_tf_config()
        return found if found and found.count > 1 else None
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ValueError(
            f"share must be INDEX/COUNT, such as 0/4 to 3/4. Received: {text}"
        )
    return Workers(int(index), ("",) * int(count)) if int(count) > 1 else None


def meet(workers: Workers, timeout: float) -> None:
    """Waits until every other worker can be reached.

    TensorFlow itself would wait for ever and ignore signals. Meanwhile this worker
    answers at its own port.

    Args:
        workers: all workers.
        timeout: seconds to wait.

    Raises:
        ConnectionError: naming the first worker that did not answer.
        OSError: if this worker's port is taken.
    """
    deadline = time.monotonic() + timeout
    port = int(workers.addresses[workers.index].rpartition(":")[2])
    with _listen(port):
        for index, address in enumerate(workers.addresses):
            while index != workers.index and not _answers(address):
                if time.monotonic() > deadline:
                    raise ConnectionError(
                        f"TF_CONFIG: worker {index} at {address} did not answer "
                        f"worker {workers.index} within {timeout:g} s"
                    )
                time.sleep(0.2)


def _listen(port):
    listener = socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET)
    try:
        # A worker that was just killed must not block its successor.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("", port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise OSError(
            f"TF_CONFIG: port {port} of this worker: {error.strerror}"
        ) from error
    return listener


def _answers(address) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False
