"""The vocabulary of a pretrained language model, in the files that KerasHub writes."""

import json
import pathlib
from collections.abc import Callable, Sequence

import sentencepiece

from tf_prompt.data import subwords, text
from tf_prompt.data.encoding import encode_records
from tf_prompt.data.text import SPECIAL_TOKENS

# Name of the subfolder of a run.
FOLDER = "tokenizer"
_PIECES, _VOCABULARY, _MERGES = "vocabulary.spm", "vocabulary.json", "merges.txt"
# How SentencePiece writes a space.
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class PretrainedVocabulary:
    """A base's tokens after our special ones, whose number is added to the base's ids.

    Args:
        names: the base's tokens as its files write them, in the order of their ids.
        pieces: text of each token, bytes; empty for those without a text.
        encode_all: function from texts to the base's ids of each.
        fold_case: see `SubwordVocabulary`.

    Attributes:
        tokens, pieces, separator, is_raw, banned_ids: see `WordVocabulary`. All tokens
            without a text or with a control character, such as a newline, are banned.
    """

    separator, is_raw = "", True

    def __init__(
        self,
        names: Sequence[str],
        pieces: Sequence[bytes],
        encode_all: Callable,
        fold_case: bool = False,
    ):
        self._encode_base, self.fold_case = encode_all, fold_case
        self.tokens = [*SPECIAL_TOKENS, *names]
        self.pieces = [b""] * len(SPECIAL_TOKENS) + list(pieces)
        self.banned_ids = tuple(
            index
            for index, piece in enumerate(self.pieces)
            if index >= len(SPECIAL_TOKENS)
            and (not piece or any(byte < 32 or byte == 127 for byte in piece))
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def reference(self, prompt: str, words: str) -> str:
        """See `WordVocabulary`."""
        return text.tidy(prompt, self.fold_case)

    def encode(self, prompt: str) -> list[int]:
        """Returns the ids of a prompt."""
        return self._encode_all([text.tidy(prompt, self.fold_case)])[0]

    def reader(self) -> Callable:
        """See `WordVocabulary`."""
        return encode_records(self._encode_all, self.fold_case)

    def _encode_all(self, texts):
        rows = self._encode_base(list(texts))
        return [[index + len(SPECIAL_TOKENS) for index in row] for row in rows]


def read(
    folder: str | pathlib.Path, fold_case: bool = False
) -> PretrainedVocabulary | None:
    """Reads the files that a KerasHub tokenizer writes with `save_assets`.

    Args:
        folder: folder of the run; the files are in its subfolder `FOLDER`.
        fold_case: see `SubwordVocabulary`.

    Returns:
        The vocabulary; None if the run has no such files.

    Raises:
        ValueError: if a file is damaged.
    """
    folder = pathlib.Path(folder) / FOLDER
    if (folder / _PIECES).is_file():
        reading = _read_pieces
    elif (folder / _VOCABULARY).is_file():
        reading = _read_byte_pairs
    else:
        return None
    try:
        return PretrainedVocabulary(*reading(folder), fold_case)
    # SentencePiece raises errors of C++, the reader of byte pairs errors of Rust.
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{FOLDER} must be of a language model. Received: {folder} ({reason})"
        ) from error


def _read_pieces(folder):
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=(folder / _PIECES).read_bytes()
    )
    names = [processor.id_to_piece(i) for i in range(processor.vocab_size())]

    def to_bytes(index, name):
        if processor.is_byte(index):
            # A byte, written as <0x0A>.
            return bytes([int(name[3:5], 16)])
        has_none = (processor.is_control, processor.is_unknown, processor.is_unused)
        if any(ask(index) for ask in has_none):
            return b""
        return name.replace(_SPACE, " ").encode()

    pieces = [to_bytes(index, name) for index, name in enumerate(names)]
    return names, pieces, processor.encode


def _read_byte_pairs(folder):
    ids = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
    lines = (folder / _MERGES).read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and line[:2] != "#v"]
    # There may be ids without a token.
    names = [f"[{index}]" for index in range(max(ids.values()) + 1)]
    for name, index in ids.items():
        names[index] = name
    tokenizer = subwords.build_tokenizer(names, merges)

    def encode(texts):
        return [found.ids for found in tokenizer.encode_batch(texts)]

    return names, [_to_bytes(name, ids) for name in names], encode


def _to_bytes(name, ids) -> bytes:
    is_special = name not in ids or (name[0] == "<" and name[-1] == ">" and name[1:-1])
    try:
        return b"" if is_special else subwords.to_bytes(name)
    except ValueError:
        return b""
