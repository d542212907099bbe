"""Vocabularies of captioners: words of the text rule, or subwords of raw prompts."""

import pathlib
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from tf_prompt.data import pretrained_vocabulary, subwords, text
from tf_prompt.data.encoding import encode_records
from tf_prompt.data.text import SPECIAL_TOKENS

# Names of files in the folder of a run.
TOKENS, MERGES = "vocabulary.txt", "merges.txt"


class WordVocabulary:
    """A vocabulary of words of `text.split_words`.

    Args:
        tokens: tokens in the order of their ids, from `text.build_vocabulary`.

    Attributes:
        tokens: as given.
        pieces: text of each token, bytes; empty for special tokens.
        separator: text between the pieces of a prompt.
        is_raw: whether prompts are the original ones, not normalised words.
        banned_ids: tokens that must not be written, besides the special ones.
    """

    separator, is_raw, banned_ids = " ", False, ()

    def __init__(self, tokens: Sequence[str]):
        self.tokens = list(tokens)
        self.pieces = [b""] * len(SPECIAL_TOKENS)
        self.pieces += [word.encode() for word in tokens[len(SPECIAL_TOKENS) :]]
        self._id_of = {token: index for index, token in enumerate(tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def reference(self, prompt: str, words: str) -> str:
        """Returns the text that a model should write.

        Args:
            prompt: the original prompt.
            words: its normalised words, joined by spaces.
        """
        return words

    def encode(self, prompt: str) -> list[int]:
        """Returns the ids of a prompt that consists of these tokens."""
        return [self._id_of[word] for word in prompt.split()]

    def reader(self) -> Callable:
        """Returns a function that encodes prompts inside a tf.data pipeline.

        Returns:
            Function from serialised records, string `(rows,)`, to ragged int32
            `(rows, tokens)`, not truncated.
        """
        keys = tf.constant(self.tokens)
        ids = tf.range(len(self.tokens), dtype=tf.int32)
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=text.UNK_ID
        )

        def read(records):
            feature = {"words": tf.io.RaggedFeature(tf.string)}
            words = tf.io.parse_example(records, feature)["words"]
            return words.with_flat_values(table.lookup(words.flat_values))

        return read

    def write(self, folder: pathlib.Path) -> None:
        """Writes the vocabulary's files into a folder."""
        text.write_vocabulary(self.tokens, folder / TOKENS)


class SubwordVocabulary:
    """A vocabulary of byte pairs of original prompts, with commas, digits and emoji.

    Runs of white space count as one space, so that a prompt is one line.

    Args:
        tokens: tokens in the order of their ids, in the characters that stand for
            bytes, see `subwords`.
        merges: pairs of tokens in the order of merging.
        fold_case: whether prompts are converted to lower case.

    Attributes:
        tokens, pieces, separator, is_raw, banned_ids: see `WordVocabulary`.
    """

    separator, is_raw = "", True

    def __init__(
        self,
        tokens: Sequence[str],
        merges: Sequence[tuple[str, str]],
        fold_case: bool = False,
    ):
        self.tokens, self.merges = list(tokens), list(merges)
        self.fold_case = fold_case
        self.pieces = [b""] * len(SPECIAL_TOKENS)
        self.pieces += [subwords.to_bytes(t) for t in tokens[len(SPECIAL_TOKENS) :]]
        # Control characters, because a prompt is one line.
        self.banned_ids = tuple(
            index
            for index, piece in enumerate(self.pieces)
            if any(byte < 32 or byte == 127 for byte in piece)
        )
        self._tokenizer = subwords.build_tokenizer(self.tokens, self.merges)

    def __len__(self) -> int:
        return len(self.tokens)

    def reference(self, prompt: str, words: str) -> str:
        """See `WordVocabulary`."""
        return text.tidy(prompt, self.fold_case)

    def encode(self, prompt: str) -> list[int]:
        """Returns the ids of a prompt."""
        return self._tokenizer.encode(text.tidy(prompt, self.fold_case)).ids

    def reader(self) -> Callable:
        """See `WordVocabulary`."""

        def encode_all(prompts):
            return [found.ids for found in self._tokenizer.encode_batch(list(prompts))]

        return encode_records(encode_all, self.fold_case)

    def write(self, folder: pathlib.Path) -> None:
        """See `WordVocabulary`."""
        subwords.write_merges(self.merges, folder / MERGES)
        text.write_vocabulary(self.tokens, folder / TOKENS)


Vocabulary = (
    WordVocabulary | SubwordVocabulary | pretrained_vocabulary.PretrainedVocabulary
)


def build_subwords(
    prompts: Iterable[str], max_size: int, fold_case: bool = False
) -> SubwordVocabulary:
    """Learns byte pairs from the prompts of a training split.

    Args:
        prompts: the original prompts.
        max_size: int, largest size, special tokens and 256 bytes included.
        fold_case: see `SubwordVocabulary`.

    Raises:
        ValueError: if `max_size` is too small.
    """
    tidy = (text.tidy(prompt, fold_case) for prompt in prompts)
    tokens, merges = subwords.learn(tidy, max_size - len(SPECIAL_TOKENS))
    return SubwordVocabulary([*SPECIAL_TOKENS, *tokens], merges, fold_case)


def read(
    folder: str | pathlib.Path, kind: str | None, fold_case: bool = False
) -> Vocabulary:
    """Reads the vocabulary of a run.

    Args:
        folder: folder of the run.
        kind: `words` or `subwords`; None, as in old runs, means words.
        fold_case: for subwords, see `SubwordVocabulary`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged.
    """
    folder = pathlib.Path(folder)
    if kind == "subwords" and (found := pretrained_vocabulary.read(folder, fold_case)):
        return found
    tokens = text.read_vocabulary(folder / TOKENS)
    if kind != "subwords":
        return WordVocabulary(tokens)
    merges = subwords.read_merges(folder / MERGES)
    try:
        return SubwordVocabulary(tokens, merges, fold_case)
    # For missing tokens, the reader raises an error of Rust.
    except Exception as error:
        raise ValueError(
            f"{MERGES} must be of {TOKENS} beside it. Received: {folder} ({error})"
        ) from error
