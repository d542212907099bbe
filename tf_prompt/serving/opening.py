"""Opens the model that a command names: in a run, an export, or on a server."""

from tf_prompt.decoding.config import DecodingConfig

# Options that say where a model is.
PLACES = ("run_dir", "saved_model", "server", "litert")


def load_run(run_dir: str, decoding: DecodingConfig, bank: str | None = None):
    """Loads a run of any kind as a `PromptModel` that writes prompts.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`, or `knn:FOLDER`.
        decoding: how a captioner decodes; other models take only the default.
        bank: see `load`.

    Raises:
        FileNotFoundError: if a file of the run is missing.
        ValueError: for options that the model does not have.
    """
    from tf_prompt.inference.loading import Loader

    return Loader().load_writer(run_dir, decoding, bank)


def load_saved_model(path: str, decoding: DecodingConfig):
    """Loads a SavedModel as a function of encoded images.

    Args:
        path: folder of one version.
        decoding: must be the default, since the export fixed how to decode.

    Returns:
        `SavedPromptWriter`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: for other ways of decoding.
    """
    from tf_prompt.serving import saved_model

    require_greedy(decoding, "a SavedModel", f"saved_model={path}")
    return saved_model.SavedPromptWriter(path)


def load_litert(path: str, decoding: DecodingConfig):
    """Loads a LiteRT file as a function of encoded images, without TensorFlow.

    Args:
        path: the file, written by `export --to litert`.
        decoding: must be the default: the file decodes greedily.

    Returns:
        `LiteRTWriter`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is another file, for other ways of decoding, or if LiteRT is
            not installed.
    """
    from tf_prompt.serving.litert.writer import LiteRTWriter

    require_greedy(decoding, "a LiteRT file", f"litert={path}")
    return LiteRTWriter(path)


def require_greedy(decoding: DecodingConfig, what: str, received: str) -> None:
    """Checks that options do not change how the model decodes.

    Args:
        decoding: the options.
        what: what decodes, for the message.
        received: the option that names it, for the message.

    Raises:
        ValueError: if they do not.
    """
    if decoding != DecodingConfig():
        raise ValueError(
            f"{what} decodes greedily; other ways of decoding need --run-dir. "
            f"Received: {received} and {decoding}"
        )


def connect(options, decoding: DecodingConfig):
    """Connects to a model on a server, as a function of encoded images.

    Args:
        options: `serving.client.options.ServerConfig`.
        decoding: must be the default, since the export fixed how to decode.

    Raises:
        ValueError: for other ways of decoding, or if gRPC is not installed.
    """
    # Imported here, because gRPC is an extra.
    from tf_prompt.serving.client import writer

    return writer.connect(options, decoding)


def require_one_place(options, may_lack: bool = False) -> None:
    """Checks that a command's options name exactly one place of a model.

    Args:
        options: as in `open_writer`.
        may_lack: whether they may name none.

    Raises:
        ValueError: if they name none or several, or an option that the place does not
            have.
    """
    places = {n: getattr(options, n) for n in PLACES if hasattr(options, n)}
    flags = [f"--{name.replace('_', '-')}" for name in places]
    received = ", ".join(f"{name}={value}" for name, value in places.items())
    count = sum(value is not None for value in places.values())
    if count > 1 or not (count or may_lack):
        raise ValueError(
            f"one of {', '.join(flags[:-1])} and {flags[-1]} must be given. "
            f"Received: {received}"
        )
    for name in ("attention", "bank"):
        if getattr(options, name, None) is not None and options.run_dir is None:
            raise ValueError(f"{name} needs --run-dir. Received: {received}")


def open_writer(options, decoding: DecodingConfig):
    """Opens the model of a command's options as a function of encoded images.

    Args:
        options: `ServerConfig` with `run_dir`, `saved_model` and `bank`, and possibly
            `litert`.
        decoding: how a captioner's run decodes; other places take only the default.

    Raises:
        FileNotFoundError, ValueError: as `load_run`, `load_saved_model`, `connect`.
    """
    if options.server is not None:
        return connect(options, decoding)
    if options.saved_model is not None:
        return load_saved_model(options.saved_model, decoding)
    if getattr(options, "litert", None) is not None:
        return load_litert(options.litert, decoding)
    return load_run(options.run_dir, decoding, options.bank)
