"""Loads a run, a SavedModel or a server as one thing that writes prompts."""

from collections.abc import Callable

from tf_prompt.decoding.config import DecodingConfig


def load(options, decoding):
    """The function that writes prompts; of a run, also what draws its attention."""
    # Each imports what the others do without: Keras takes seconds, gRPC is an extra.
    if options.server is not None:
        from tf_prompt.serving.client import writer

        return writer.connect(options, decoding), None
    if options.saved_model is not None:
        return load_saved_model(options.saved_model, decoding), None
    from tf_prompt.inference import loading

    return loading.load_with_attention(
        options.run_dir, decoding, options.bank, options.attention
    )


def load_saved_model(path: str, options: DecodingConfig) -> Callable:
    """Loads a SavedModel as a function of encoded images.

    Args:
        path: folder of a version, which writes as it was exported to.
        options: must be the default ones.

    Returns:
        A function from a list of bytes to a dict of `prompt` and `score`; of a file
        that is no image the score is NaN.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: for options that a SavedModel cannot follow.
    """
    # Here: TensorFlow takes seconds, and `--help` needs none.
    from tf_prompt.serving import saved_model

    if options != DecodingConfig():
        raise ValueError(
            "a SavedModel writes greedily; other ways of decoding need --run-dir. "
            f"Received: saved_model={path} and {options}"
        )
    return saved_model.SavedPromptWriter(path)
