"""From the bytes of a request to the prompt of its image."""

import base64
import binascii
import io
import pathlib
import re
from collections.abc import Callable, Sequence

import PIL.Image

from tf_prompt.data import uploads
from tf_prompt.inference import image_files
from tf_prompt.serving.http.batching import Batcher
from tf_prompt.serving.http.measures import Measures
from tf_prompt.serving.http.refusals import Refused, show

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


class Service:
    """One model, shared by many requests.

    Args:
        writer: function from encoded images to a dict of `prompt` and `score`, such as
            a `PromptModel`.
        name: the model's name for callers.
        options: `serve.ServeConfig`.

    Attributes:
        name, options: as given.
        measures: counts and times.
        batcher: of images.
    """

    def __init__(self, writer: Callable, name: str, options):
        self.name, self.options = name, options
        self.measures = Measures()
        self._writer = writer
        threads = 2 if getattr(writer, "is_thread_safe", False) else 1
        self.batcher = Batcher(
            self._write_batch, options.batch_size, threads, self.measures
        )

    def warm_up(self) -> None:
        """Writes the prompt of a blank image, so that no caller waits for graphs.

        Raises:
            ConnectionError, ValueError: if the model is on a server that has it not.
        """
        blank = io.BytesIO()
        PIL.Image.new("RGB", (64, 64)).save(blank, "PNG")
        self._write_batch([blank.getvalue()])

    async def write(self, data: bytes, name: str) -> dict:
        """Writes the prompt of an image.

        Args:
            data: content of its file.
            name: what messages call it.

        Returns:
            dict of `prompt`, str, and `score`, float.

        Raises:
            Refused: if it is too large, or no image.
        """
        limit = self.options.max_upload_mb * 2**20
        if len(data) > limit:
            raise Refused(
                413,
                f"{name} must have at most {limit} bytes. Received: {len(data)}",
                param=name,
            )
        try:
            pixels = self.options.max_megapixels * 1_000_000
            uploads.check_header(data, name, pixels)
        except ValueError as error:
            raise Refused(400, str(error), param=name, code="bad_image") from error
        row = await self.batcher(data)
        if "error" in row:
            message = f"{name} is {row['error']}"
            raise Refused(400, message, param=name, code="bad_image")
        return row

    def _write_batch(self, batch: Sequence[bytes]) -> list[dict]:
        errors: dict = {}
        # Keys that are as different as the requests, also where images are the same.
        files = {pathlib.PurePath(str(i)): data for i, data in enumerate(batch)}
        rows = image_files.write_prompts(self._writer, files, errors)
        return [{"error": errors[key]} if key in errors else rows[key] for key in files]


def decode_base64(text: str, name: str) -> bytes:
    """Decodes the image of a JSON body.

    Args:
        text: base64, or a data URL of it.
        name: of the field, for messages.

    Raises:
        Refused: if it is neither; addresses are not fetched.
    """
    head = _DATA_URL.match(text)
    if head is None and ("://" in text[:20] or text.startswith("data:")):
        raise Refused(
            400,
            f"{name} must be a data URL, data:image/png;base64,…; addresses are not "
            f"fetched. Received: {show(text)}",
            param=name,
        )
    try:
        letters = "".join(text[head.end() if head else 0 :].split())
        return base64.b64decode(letters, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(
            400, f"{name} must be base64. Received: {show(text)}", param=name
        ) from error
