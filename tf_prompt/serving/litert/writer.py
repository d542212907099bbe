"""A LiteRT file as a function of encoded images, without TensorFlow."""

import json
import os
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from tf_prompt.data import image_faults
from tf_prompt.serving.litert import pixels

# Files in the archive after the model: what a reader must know, and the vocabulary.
CONFIG, VOCABULARY = "config.json", "vocabulary.txt"
ENCODE, STEP = "encode", "step"
# Version of the file's layout.
LAYOUT = 1
_BANNED = np.float32(-1e9)


class LiteRTWriter:
    """A captioner that `export --to litert` wrote, as a function of encoded images.

    Words are chosen greedily, one image at a time.

    Args:
        path: the file.
        num_threads: int > 0; all cores if not given.

    Call arguments:
        image_bytes: encoded images, a list of bytes.

    Returns:
        dict of `prompt`, bytes `(batch,)`; `score`, float32 `(batch,)`, the mean
        log-probability of the words, NaN for broken images; and `error`, list of str
        or None: why a row has no prompt.

    Attributes:
        config: content of the file's `config.json`.
        image_size: side of its images, pixels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if `export` did not write it, or LiteRT is not installed.
    """

    is_thread_safe = False
    attends = False
    score_name = "mean log-probability per word"

    def __init__(self, path: str | pathlib.Path, num_threads: int | None = None):
        path = pathlib.Path(path)
        self.config, self._pieces = _read_parts(path)
        self.image_size = self.config["image_size"]
        interpreter = _open(path, num_threads or os.cpu_count())
        self._encode = interpreter.get_signature_runner(ENCODE)
        self._step = interpreter.get_signature_runner(STEP)
        # Signature runners do not keep it alive.
        self._interpreter = interpreter
        self._bans = np.zeros(len(self._pieces), np.float32)
        self._bans[self.config["banned_ids"]] = _BANNED

    def __call__(self, image_bytes: Sequence[bytes]) -> dict:
        rows = [self._write(data) for data in image_bytes]
        prompts, scores, errors = zip(*rows, strict=True)
        found = {"prompt": list(prompts), "score": np.array(scores, np.float32)}
        return {**found, "error": list(errors)}

    def write_tokens(self, image: np.ndarray) -> tuple[list[int], float]:
        """Writes the tokens of one image.

        Args:
            image: uint8 `(image_size, image_size, 3)`.

        Returns:
            Their ids without the end token, and the mean log-probability of all tokens,
            the end token included.
        """
        return self.decode(self._encode(pixels=image[None]))

    def decode(self, parts: dict[str, np.ndarray]) -> tuple[list[int], float]:
        """Writes the tokens of an encoded image.

        Args:
            parts: result of the signature `encode`: the decoder's `state_…` and
                `memory_…`.

        Returns:
            As `write_tokens`.
        """
        state = {k: v for k, v in parts.items() if k.startswith("state_")}
        memory = {k: v for k, v in parts.items() if k.startswith("memory_")}
        token, end = self.config["start_id"], self.config["end_id"]
        written: list[int] = []
        scores: list[float] = []
        for position in range(self.config["max_tokens"]):
            state = self._step(
                token_ids=np.array([token], np.int32),
                position=np.array(position, np.int32),
                **state,
                **memory,
            )
            logits = state.pop("logits")[0] + self._bans
            token = int(logits.argmax())
            shifted = logits - logits[token]
            scores.append(-float(np.log(np.exp(shifted).sum())))
            if token == end:
                break
            written.append(token)
        return written, sum(scores) / len(scores)

    def join(self, token_ids: Sequence[int]) -> str:
        """Joins tokens to a prompt."""
        found = (
            self.config["separator"]
            .encode()
            .join(self._pieces[token] for token in token_ids)
        )
        # A prompt that was cut may end inside a character.
        text = found.decode(errors="ignore")
        return text.strip() if self.config["is_raw"] else text

    def _write(self, data):
        try:
            image = pixels.decode_image(data, self.image_size)
        except ValueError:
            return b"", float("nan"), image_faults.explain(data)
        token_ids, score = self.write_tokens(image)
        return self.join(token_ids).encode(), score, None


def _read_parts(path: pathlib.Path) -> tuple[dict, list[bytes]]:
    if not path.is_file():
        raise FileNotFoundError(f"litert must be a file of export. Received: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read(CONFIG))
            tokens = archive.read(VOCABULARY).decode().split("\n")[:-1]
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(
            "litert must be a file that `export --to litert` wrote, whole. "
            f"Received: {path} ({error})"
        ) from error
    if config.get("layout") != LAYOUT:
        raise ValueError(
            f"litert must have layout {LAYOUT}, which this version reads. "
            f"Received: {config.get('layout')} in {path}"
        )
    special = config["num_special_tokens"]
    return config, [b""] * special + _to_bytes(tokens[special:], config["is_raw"])


def _to_bytes(tokens, is_raw) -> list[bytes]:
    if not is_raw:
        return [token.encode() for token in tokens]
    # Imported here, because it imports a tokenizer, which words do not need.
    from tf_prompt.data import subwords

    return [subwords.to_bytes(token) for token in tokens]


def _open(path, num_threads):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ValueError(
            'litert needs an extra: pip install "tf_prompt[litert]"'
        ) from error
    try:
        interpreter = Interpreter(model_path=os.fspath(path), num_threads=num_threads)
        signatures = set(interpreter.get_signature_list())
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"litert must be an intact model. Received: {path} ({error})"
        ) from error
    if not {ENCODE, STEP} <= signatures:
        raise ValueError(
            f"litert must have the signatures {ENCODE} and {STEP}. "
            f"Received: {sorted(signatures)} in {path}"
        )
    return interpreter
