"""From the run of any model to a function from encoded images to prompts."""

import pathlib
from collections.abc import Callable

import keras

from tf_prompt import prediction, text
from tf_prompt.attention_strip import AttentionStrips
from tf_prompt.bank import PromptBank, build_bank, read_prompts, training_bank
from tf_prompt.data import dataset
from tf_prompt.decoding_config import DecodingConfig
from tf_prompt.members import Member, load_member, predict_encoded
from tf_prompt.metrics import cosine
from tf_prompt.models import presets
from tf_prompt.training import run_folder

BANK_CACHE = "prompt_bank"


def load_writer(
    run_dir: str | pathlib.Path,
    decoding: DecodingConfig,
    bank_file: str | None = None,
) -> tuple[Callable, keras.Model | None, list[str] | None]:
    """Makes a run's model a writer of prompts.

    Args:
        run_dir: the run's folder.
        decoding: how a captioner writes; other models take the default only.
        bank_file: see `build_bank_writer`.

    Returns:
        A function from a list of bytes to a dict of `prompt` and `score`; and of a
        captioner its model and vocabulary, else None.

    Raises:
        FileNotFoundError: if a part is missing.
        ValueError: for options that mean nothing to the model.
    """
    preset = run_folder.read_config(run_dir).preset
    if presets.kind(preset) == "captioner":
        if bank_file is not None:
            raise ValueError(
                f"bank must be left out with preset {preset}. Received: {bank_file}"
            )
        _, vocabulary, model = run_folder.load_run(run_dir)
        return prediction.build_writer(model, vocabulary, decoding), model, vocabulary
    if decoding != DecodingConfig():
        raise ValueError(f"ways of decoding go with captioners. Received: {preset}")
    return build_bank_writer(run_dir, bank_file), None, None


def load_with_attention(
    run_dir: str | pathlib.Path,
    decoding: DecodingConfig,
    bank_file: str | None,
    attention_dir: str | None,
) -> tuple[Callable, AttentionStrips | None]:
    """Loads a writer, and what draws where it looked.

    Args:
        run_dir, decoding, bank_file: see `load_writer`.
        attention_dir: folder of the pictures to draw; None draws none.

    Raises:
        FileNotFoundError, ValueError: as `load_writer`; or for attention of a model
            that has none.
    """
    writer, model, vocabulary = load_writer(run_dir, decoding, bank_file)
    if attention_dir is None:
        return writer, None
    if model is None:
        raise ValueError(f"attention goes with captioners. Received: {run_dir}")
    return writer, AttentionStrips(model, vocabulary, attention_dir)


def build_bank_writer(
    run_dir: str | pathlib.Path, bank_file: str | None = None
) -> Callable:
    """Makes a run of any model a function of encoded images.

    A model that writes prompts itself, such as an interrogator, keeps them; of the
    others it is the nearest prompt of a bank.

    Args:
        run_dir: the run's folder, where the embeddings of a bank file are kept too.
        bank_file: text file of one prompt a line; None takes the prompts that the
            run was trained on.

    Returns:
        A function from a list of bytes to a dict of `prompt`, a list of bytes, and
        `score`, float32 `(images,)`: the cosine of the predicted embedding with
        that of the prompt, or the model's own of a prompt that it wrote.

    Raises:
        FileNotFoundError: if the run, its data or the bank are missing.
    """
    member = load_member(run_dir)
    if bank_file is None:
        folder = dataset.find_data(run_folder.read_config(run_dir).data)
        return BankWriter(member, training_bank(folder))
    cache = pathlib.Path(run_dir) / BANK_CACHE
    prompts = read_prompts(bank_file)
    return BankWriter(member, build_bank(prompts, cosine.load_embedder(), cache))


class BankWriter:
    """Says of an image which prompt of a bank is nearest to its embedding.

    Args:
        member: predicts embeddings.
        bank: prompts to choose among.
    """

    def __init__(self, member: Member, bank: PromptBank):
        self._member, self._bank = member, bank

    def __call__(self, image_bytes) -> dict:
        """See `build_bank_writer`."""
        found = predict_encoded(self._member, list(image_bytes))
        prompts, scores = found.prompts, found.scores
        if prompts is None:
            nearest, cosines = self._bank.nearest(found.embeddings)
            prompts = [" ".join(text.split_words(best[0])) for best in nearest]
            scores = cosines[:, 0]
        return {"prompt": [prompt.encode() for prompt in prompts], "score": scores}
