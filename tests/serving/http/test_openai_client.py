"""The service as OpenAI's official client sees it."""

import base64

import pytest

openai = pytest.importorskip("openai", reason="needs tf_prompt[test]")
pytest.importorskip("fastapi", reason="needs tf_prompt[serve]")

from tests.serving.http import colours  # noqa: E402


@pytest.fixture(scope="module")
def writer():
    return colours.ColourWriter()


@pytest.fixture(scope="module")
def client(writer):
    with colours.serving(writer, token="secret") as (address, *_):
        with openai.OpenAI(
            base_url=f"{address}/v1", api_key="secret", max_retries=0
        ) as found:
            yield found


def data_url(data, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def ask(client, *urls, text="Which prompt?", **more):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": text}, *parts]
    messages = [{"role": "user", "content": content}]
    fields = {"model": colours.NAME, "messages": messages, **more}
    return client.chat.completions.create(**fields)


def test_the_model_is_listed(client):
    (model,) = client.models.list().data
    assert model.id == colours.NAME and model.object == "model"
    assert client.models.retrieve(colours.NAME) == model


def test_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="model must be colours"):
        client.models.retrieve("gpt-4o")
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, data_url(colours.encode()), model="gpt-4o")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_an_image_gets_its_prompt(client, kind):
    answer = ask(client, data_url(colours.encode("blue", kind=kind), kind))
    (choice,) = answer.choices
    assert choice.message.content == "a blue patch"
    assert choice.message.role == "assistant" and choice.finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.model == colours.NAME
    assert answer.usage.completion_tokens == 3


def test_a_conversation_is_about_its_last_image(client):
    def said(colour):
        url = {"url": data_url(colours.encode(colour)), "detail": "low"}
        return {"role": "user", "content": [{"type": "image_url", "image_url": url}]}

    messages = [
        {"role": "system", "content": "You write prompts."},
        said("red"),
        {"role": "assistant", "content": "a red patch"},
        said("blue"),
        {"role": "user", "content": "Again."},
    ]
    answer = client.chat.completions.create(
        model=colours.NAME, messages=messages, temperature=0.2, max_tokens=5
    )
    assert answer.choices[0].message.content == "a blue patch"


def test_a_stream_says_the_same(client):
    chunks = list(
        ask(
            client,
            data_url(colours.encode()),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *written, usage = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in written)
    assert text == "a red patch"
    assert written[-1].choices[0].finish_reason == "stop"
    assert usage.choices == [] and usage.usage.total_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize(
    "urls, more, message",
    [
        (["https://example.com/a.png"], {}, "addresses are not fetched. Received: htt"),
        (["file:///etc/passwd"], {}, "addresses are not fetched"),
        (["data:image/png,abc"], {}, "must be a data URL"),
        (["data:image/png;base64,a*b"], {}, "image_url must be base64"),
        ([], {}, "messages must have an image"),
        ([data_url(colours.encode())] * 2, {}, "must have one image. Received: 2"),
        ([data_url(colours.encode())], {"n": 2}, "n must be 1. Received: 2"),
        ([data_url(b"<html>")], {}, "not a picture that can be read .*an HTML page"),
        ([data_url(colours.encode()[:60])], {}, "cut off, the PNG ends early"),
        ([data_url(colours.encode(size=(1001, 1000)))], {}, "at most 1 megapixels"),
        ([7], {}, "messages.0.content.* valid string. Received: 7"),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value)[:20],
)
def test_bad_requests_are_one_line(client, urls, more, message):
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        ask(client, *urls, **more)
    assert "\n" not in caught.value.body["message"]
    assert caught.value.type == "invalid_request_error"


def test_too_large_an_image_is_refused(client):
    # Within the body's limit, which is of base64.
    padded = colours.encode() + bytes(2**20)
    with pytest.raises(openai.APIStatusError, match="at most 1048576 bytes") as caught:
        ask(client, data_url(padded))
    assert caught.value.status_code == 413


def test_a_wrong_token_is_told(client):
    with pytest.raises(openai.AuthenticationError, match="Bearer TOKEN"):
        client.with_options(api_key="guess").models.list()


@pytest.mark.parametrize(
    "failure, status", [(ConnectionError("server away"), 502), (ValueError("no"), 500)]
)
def test_a_model_that_fails_is_told(client, writer, monkeypatch, failure, status):
    monkeypatch.setattr(writer, "failure", failure)
    with pytest.raises(openai.InternalServerError, match="the model failed") as caught:
        ask(client, data_url(colours.encode()))
    assert caught.value.status_code == status
