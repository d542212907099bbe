"""The web application: its paths and middleware."""

import http
import sys
import time

import tf_prompt
from tf_prompt.inference.image_bytes import embedded_field
from tf_prompt.options import errors_of_users
from tf_prompt.serving.http import (
    MISSING,
    chat,
    guards,
    limits,
    measures,
    refusals,
)
from tf_prompt.serving.http.refusals import Refused
from tf_prompt.serving.http.service import Service, decode_base64

try:
    import fastapi
    import pydantic
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise ValueError(MISSING) from error

# The models of A1111's interrogation; whichever is asked for, ours answers.
_A1111_MODELS = ("clip", "deepdanbooru", "deepbooru")


class Interrogation(pydantic.BaseModel):
    """A request to A1111's interrogate endpoint."""

    image: str = ""
    model: str = "clip"


def build_app(service: Service, token: str | None) -> fastapi.FastAPI:
    """Builds the application.

    Args:
        service: the model.
        token: what callers must know; None on loopback.
    """
    app = fastapi.FastAPI(
        title="tf_prompt",
        description="Prompts of images that Stable Diffusion made.",
        version=tf_prompt.__version__,
        # Pages that load scripts from other hosts; /openapi.json stays.
        docs_url=None,
        redoc_url=None,
    )
    _add_own(app, service)
    _add_openai(app, service)
    _add_a1111(app, service)
    _add_guards(app, service, token)
    _add_errors(app)
    return app


def _add_guards(app, service, token) -> None:
    """Puts up what stands before the paths; the last one is outermost."""
    options, shown = service.options, service.measures
    app.add_middleware(
        guards.Places,
        count=options.queue,
        wait=service.batcher.estimate_wait,
        in_hand=shown.in_hand.inc,
    )
    app.add_middleware(guards.Callers, token=token)
    # Base64 has four letters for three bytes.
    limit = options.max_upload_mb * 2**20 * 4 // 3 + limits.AROUND
    app.add_middleware(limits.BodyLimit, limit_of=lambda path: limit)
    paths = frozenset(route.path for route in app.routes)
    app.add_middleware(measures.Measured, measures=shown, paths=paths)


def _add_own(app, service) -> None:
    @app.get("/health")
    def health() -> dict:
        """Whether the service runs."""
        found = {"status": "ok", "model": service.name}
        return {**found, "version": tf_prompt.__version__}

    @app.get("/metrics")
    def metrics() -> Response:
        """Counts and times for Prometheus."""
        shown = service.measures
        return Response(shown.render(), media_type=shown.content_type)

    @app.post("/prompt")
    async def prompt(file: fastapi.UploadFile) -> dict:
        """Writes the prompt of an uploaded file, in the form of `predict --json`."""
        data = await file.read()
        row = await service.write(data, "file")
        return {"path": file.filename, **row, **embedded_field(data)}


def _add_openai(app, service) -> None:
    created = int(time.time())

    @app.get("/v1/models")
    def models() -> dict:
        """Lists the model."""
        found = [chat.describe_model(service.name, created)]
        return {"object": "list", "data": found}

    @app.get("/v1/models/{name:path}")
    def model(name: str) -> dict:
        """Describes the model."""
        chat.require_model(name, service.name)
        return chat.describe_model(service.name, created)

    @app.post("/v1/chat/completions")
    async def complete(request: chat.ChatRequest):
        """Writes the prompt of the image in a conversation."""
        chat.require_model(request.model, service.name)
        data = decode_base64(chat.find_image(request), "image_url")
        row = await service.write(data, "image_url")
        if not request.stream:
            return chat.complete(service.name, row["prompt"])
        wanted = request.stream_options or chat.StreamOptions()
        events = chat.stream(service.name, row["prompt"], wanted.include_usage)
        return StreamingResponse(events, media_type="text/event-stream")


def _add_a1111(app, service) -> None:
    @app.post("/sdapi/v1/interrogate")
    async def interrogate(request: Interrogation) -> dict:
        """Writes the prompt of an image, as A1111's web UI answers."""
        if request.model not in (*_A1111_MODELS, service.name):
            known = ", ".join((*_A1111_MODELS, service.name))
            raise Refused(
                404,
                f"model must be one of {known}. "
                f"Received: {refusals.show(request.model)}",
            )
        if not request.image:
            raise Refused(404, "image must be given, as base64.")
        data = decode_base64(request.image, "image")
        row = await service.write(data, "image")
        return {"caption": row["prompt"]}


def _add_errors(app) -> None:
    """Says each error in one line, in the form of the interface."""

    @app.exception_handler(Refused)
    async def say(request, refused):
        content = refusals.content_of(refused, request.url.path)
        return JSONResponse(content, refused.status, refused.headers)

    @app.exception_handler(HTTPException)
    async def say_status(request, error):
        reason = str(error.detail) or http.HTTPStatus(error.status_code).phrase
        message = f"{request.method} {request.url.path}: {reason}"
        refused = Refused(error.status_code, message, headers=error.headers)
        return await say(request, refused)

    @app.exception_handler(RequestValidationError)
    async def say_invalid(request, error):
        # The one that goes deepest says most.
        worst = max(error.errors(), key=lambda found: len(found["loc"]))
        field = ".".join(map(str, worst["loc"][1:])) or "body"
        message = f"{field}: {worst['msg']}."
        if "input" in worst and worst["type"] != "missing":
            message += f" Received: {refusals.show(worst['input'])}"
        return await say(request, Refused(400, message, param=field))

    async def say_failed(request, error):
        line = " ".join(str(error).split())
        print(f"serve: {request.url.path}: {line}", file=sys.stderr)
        status = 502 if isinstance(error, ConnectionError) else 500
        return await say(request, Refused(status, f"the model failed: {line}"))

    for kind in errors_of_users():
        app.exception_handler(kind)(say_failed)
