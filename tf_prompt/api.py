"""From a place to what writes prompts: a run, a SavedModel or a server."""

from collections.abc import Callable

from tf_prompt.decoding.config import DecodingConfig


def load_run(run_dir: str, decoding: DecodingConfig, bank: str | None = None):
    """Loads a run of any kind as a `PromptModel` that writes prompts.

    Args:
        run_dir: folder of a run of `tf_prompt.fit`, or `knn:FOLDER`.
        decoding: how a captioner writes; other models take the default only.
        bank: models of embeddings: text file of prompts, one a line, of which the
            nearest is written; None takes the training prompts.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: for options that mean nothing to the model.
    """
    # Here, as below: Keras takes seconds, which a SavedModel does without.
    from tf_prompt.inference.loading import Loader

    return Loader().load_writer(run_dir, decoding, bank)


def load_saved_model(path: str, decoding: DecodingConfig) -> Callable:
    """Loads a SavedModel as a function of encoded images.

    Args:
        path: folder of a version, which writes as it was exported to.
        decoding: must be the default one.

    Returns:
        `SavedPromptWriter`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: for ways of decoding, which a SavedModel cannot follow.
    """
    from tf_prompt.serving import saved_model

    if decoding != DecodingConfig():
        raise ValueError(
            "a SavedModel writes greedily; other ways of decoding need --run-dir. "
            f"Received: saved_model={path} and {decoding}"
        )
    return saved_model.SavedPromptWriter(path)


def connect(options, decoding: DecodingConfig) -> Callable:
    """Connects to a model on a server, as a function of encoded images.

    Args:
        options: `serving.client.options.ServerConfig`.
        decoding: must be the default one.

    Raises:
        ValueError: for ways of decoding, or a server that cannot be asked.
    """
    # gRPC is an extra.
    from tf_prompt.serving.client import writer

    return writer.connect(options, decoding)
