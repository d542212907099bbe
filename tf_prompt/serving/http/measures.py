"""Counters and timings of the service, in the text format of Prometheus."""

import time

from tf_prompt.serving.http import MISSING

try:
    import prometheus_client as prometheus
except ImportError as error:
    raise ValueError(MISSING) from error

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """Everything that `/metrics` shows.

    Attributes:
        content_type: of the text.
        in_hand: gauge, requests with images that are not answered yet.
        batch_images, batch_seconds: histograms, of each call of the model.
    """

    content_type = prometheus.CONTENT_TYPE_LATEST

    def __init__(self):
        # Its own: a process, as that of the tests, may hold several services.
        own = {"registry": prometheus.CollectorRegistry()}
        self._registry = own["registry"]
        self._requests = prometheus.Counter(
            "tf_prompt_requests", "Requests answered.", ["path", "status"], **own
        )
        self._seconds = prometheus.Histogram(
            "tf_prompt_request_seconds",
            "Seconds from a request to its answer.",
            ["path"],
            buckets=_SECONDS,
            **own,
        )
        self.in_hand = prometheus.Gauge(
            "tf_prompt_requests_in_hand", "Requests not answered yet.", **own
        )
        self.batch_images = prometheus.Histogram(
            "tf_prompt_batch_images",
            "Images in a call of the model.",
            buckets=_IMAGES,
            **own,
        )
        self.batch_seconds = prometheus.Histogram(
            "tf_prompt_batch_seconds",
            "Seconds of a call of the model.",
            buckets=_SECONDS,
            **own,
        )

    def render(self) -> bytes:
        """Gives the text of all."""
        return prometheus.generate_latest(self._registry)

    def count(self, path: str, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)


class Measured:
    """ASGI middleware that counts and times requests.

    Args:
        app: the application behind.
        measures: where to.
        paths: those that are told apart; others are counted together.
    """

    def __init__(self, app, measures: Measures, paths: frozenset[str]):
        self._app, self._measures, self._paths = app, measures, paths

    async def __call__(self, scope, receive, send) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def note(message):
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._measures.count(path, status, time.perf_counter() - start)
