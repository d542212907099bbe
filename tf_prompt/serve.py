"""Serves a model over HTTP, with the interfaces of other tools."""

import dataclasses
import importlib.util
import os
import pathlib
import sys
import typing

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.options import (
    DONE,
    command,
    import_tensorflow,
    option,
    parse_args,
    require_positive,
    take_options,
)
from tf_prompt.runs.machine.devices import gpu_memory_option
from tf_prompt.serving import opening
from tf_prompt.serving.client.options import ServerConfig
from tf_prompt.serving.http import MISSING

EXAMPLES = (
    "python -m tf_prompt.serve --run-dir runs/transformer_tiny",
    "python -m tf_prompt.serve --saved-model saved_models/prompt/1 --port 9000",
)
TOKEN = "TF_PROMPT_TOKEN"
_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig(DecodingConfig, ServerConfig):
    """Serves a model over HTTP: OpenAI's chat, A1111's interrogate, and files."""

    first_groups: typing.ClassVar = ("model", "listening", "limits", "server")

    run_dir: str | None = option(
        None,
        "folder of a run of tf_prompt.fit",
        group="model",
    )
    saved_model: str | None = option(
        None,
        "folder of one version of an export",
        group="model",
    )
    bank: str | None = option(
        None,
        "embedding models: text file of prompts, one per line, from which the nearest "
        "is chosen (default: the training prompts)",
        group="model",
    )
    name: str | None = option(
        None,
        "name under which callers see the model (default: the name of its folder, or "
        "that on the server)",
        group="model",
    )
    host: str = option(
        "127.0.0.1",
        "address to listen on; 0.0.0.0 listens on all addresses and needs a token",
        group="listening",
    )
    port: int = option(
        8000,
        "port to listen on; 0 chooses a free one",
        group="listening",
    )
    token: str | None = option(
        None,
        f"token that callers must send, as Authorization: Bearer TOKEN (default: "
        f"${TOKEN}, which other users of this machine cannot see)",
        group="listening",
    )
    batch_size: int = option(
        16,
        "maximum number of images per batch",
        group="limits",
    )
    queue: int = option(
        64,
        "maximum number of requests at a time; further ones are refused with 503",
        group="limits",
    )
    max_upload_mb: int = option(
        10,
        "maximum size of an uploaded image in megabytes",
        group="limits",
    )
    max_megapixels: int = option(
        25,
        "maximum size of an image in millions of pixels",
        group="limits",
    )
    gpu_memory: int | None = gpu_memory_option()

    def __post_init__(self):
        # Not imported above: asyncio takes a tenth of a second.
        from tf_prompt.serving.http.guards import is_loopback

        DecodingConfig.__post_init__(self)
        ServerConfig.__post_init__(self)
        require_positive(self, "batch_size", "queue", "max_upload_mb")
        require_positive(self, "max_megapixels", "gpu_memory")
        opening.require_one_place(self)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be from 0 to 65535. Received: {self.port}")
        if self.secret == "":
            raise ValueError("token must not be empty. Received: ''")
        if self.secret is None and not is_loopback(self.host):
            raise ValueError(
                "host must be of this machine alone, or a token be set: --token, or "
                f"${TOKEN}. Received: {self.host}"
            )

    @property
    def secret(self) -> str | None:
        """The token; None without one."""
        return os.environ.get(TOKEN) if self.token is None else self.token

    @property
    def served_name(self) -> str:
        """The model's name for callers."""
        if self.name is not None or self.server is not None:
            return self.name or self.model_name
        if self.run_dir is not None:
            return pathlib.Path(self.run_dir).resolve().name
        return pathlib.Path(self.saved_model).resolve().parent.name


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`."""
    options = parse_args(ServeConfig, argv, "serve", EXAMPLES)
    # Before the model, which takes long to load.
    if any(importlib.util.find_spec(name) is None for name in _PACKAGES):
        raise ValueError(MISSING)
    from tf_prompt.serving.http import server

    with server.bind(options.host, options.port) as listening:
        service = _load(options)
        from tf_prompt.serving.http import app

        built = app.build_app(service, options.secret)
        server.Server(built, options.host).run([listening])
        service.batcher.close()
    return DONE


def _load(options: ServeConfig):
    """Loads the model, ready to answer; a bar shows how far this is."""
    import tqdm

    # Only on a terminal: elsewhere it would stand before the line of an error.
    bar = tqdm.tqdm(total=3, desc="starting", leave=False, delay=2, disable=None)
    with bar:
        import_tensorflow()
        bar.set_description("loading the model", refresh=False)
        bar.update()
        from tf_prompt.inference.devices import bound_gpu_memory
        from tf_prompt.serving.http.service import Service

        bound_gpu_memory(options.gpu_memory)
        writer = opening.open_writer(options, take_options(DecodingConfig, options))
        bar.set_description("warming up", refresh=False)
        bar.update()
        service = Service(writer, options.served_name, options)
        service.warm_up()
        bar.update()
    return service


if __name__ == "__main__":
    sys.exit(main())
