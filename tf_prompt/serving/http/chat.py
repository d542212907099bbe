"""OpenAI's chat completions: formats of requests and responses."""

import json
import time
import uuid
from collections.abc import Iterator

from tf_prompt.serving.http import MISSING
from tf_prompt.serving.http.refusals import Refused, show

try:
    import pydantic
except ImportError as error:
    raise ValueError(MISSING) from error


class ImageURL(pydantic.BaseModel):
    """The URL of an image in a message."""

    url: str


class Part(pydantic.BaseModel):
    """A part of a message: text, or an image."""

    type: str
    image_url: ImageURL | None = None


class Message(pydantic.BaseModel):
    """A message of the conversation."""

    role: str
    content: str | list[Part] | None = None


class StreamOptions(pydantic.BaseModel):
    """Options of a streamed response."""

    include_usage: bool = False


class ChatRequest(pydantic.BaseModel):
    """The fields of a request that are used; others, such as `temperature`, are not."""

    model: str
    messages: list[Message]
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


def find_image(request: ChatRequest) -> str:
    """Finds the image of a request: that of the last message with one.

    Returns:
        Its data URL, unchecked.

    Raises:
        Refused: if there is not exactly one, or more than one answer is wanted.
    """
    if request.n not in (None, 1):
        raise Refused(400, f"n must be 1. Received: {request.n}", param="n")
    for message in reversed(request.messages):
        parts = message.content if isinstance(message.content, list) else []
        images = [part.image_url for part in parts if part.image_url is not None]
        if len(images) == 1:
            return images[0].url
        if images:
            raise Refused(
                400,
                f"a message must have one image. Received: {len(images)}",
                param="messages",
            )
    raise Refused(
        400,
        "messages must have an image, a part of type image_url. Received: none",
        param="messages",
    )


def require_model(asked: str, name: str) -> None:
    """Checks that a request names the served model.

    Raises:
        Refused: if it is another.
    """
    if asked != name:
        raise Refused(
            404,
            f"model must be {name}. Received: {show(asked)}",
            param="model",
            code="model_not_found",
        )


def describe_model(name: str, created: int) -> dict:
    """Returns the entry of a model in the list of models.

    Args:
        name: of the model.
        created: when it was loaded, seconds since 1970.
    """
    entry = {"id": name, "object": "model", "created": created}
    return {**entry, "owned_by": "tf_prompt"}


def complete(name: str, prompt: str) -> dict:
    """Returns a response in one piece."""
    message = {"role": "assistant", "content": prompt, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None}
    return {
        **_head(name, "chat.completion"),
        "choices": [{**choice, "finish_reason": "stop"}],
        "usage": _usage(prompt),
    }


def stream(name: str, prompt: str, includes_usage: bool) -> Iterator[str]:
    """Yields a response as server-sent events; the prompt is one of them.

    Args:
        name: of the model.
        prompt: what it wrote.
        includes_usage: whether an event with the usage comes before the end.

    Yields:
        Events.
    """
    head = _head(name, "chat.completion.chunk")
    if includes_usage:
        head["usage"] = None
    steps = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": prompt}, None),
        ({}, "stop"),
    ]
    for delta, reason in steps:
        choice = {"index": 0, "delta": delta, "logprobs": None}
        yield _event({**head, "choices": [{**choice, "finish_reason": reason}]})
    if includes_usage:
        yield _event({**head, "choices": [], "usage": _usage(prompt)})
    yield "data: [DONE]\n\n"


def _event(content) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _head(name, kind) -> dict:
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind}
    return {**head, "created": int(time.time()), "model": name}


def _usage(prompt) -> dict:
    """In words: the models have no tokens of OpenAI's, and read no text."""
    written = len(prompt.split())
    usage = {"prompt_tokens": 0, "completion_tokens": written}
    return {**usage, "total_tokens": written}
