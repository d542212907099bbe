"""CLIP's tokens: byte pairs between a start and an end token."""

import json
import pathlib
import unicodedata
from collections.abc import Mapping, Sequence

import keras_hub
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from tf_prompt import files
from tf_prompt.data import text

VOCABULARY, MERGES, SETTINGS = "vocabulary.json", "merges.txt", "settings.json"
# The second is the name in transformers.
_VOCABULARIES = (VOCABULARY, "vocab.json")
_START, _END, _WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
# How CLIP splits text before it merges bytes: no token crosses these boundaries.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# Larger totals are scaled down: byte pairs depend on the order, not the sums.
_MAX_USES = 1_000_000
# File that a folder in Hugging Face format may hold instead of both.
_WHOLE = "tokenizer.json"


def build_tokenizer(
    counts: Mapping[str, int], vocab_size: int
) -> keras_hub.models.CLIPTokenizer:
    """Builds a tokenizer from byte pairs of the training prompts' words.

    All single bytes are tokens, so any text can be encoded. Frequent words become
    one token; with a large enough `vocab_size`, every word of the training prompts.

    Args:
        counts: dict from word to its number of occurrences.
        vocab_size: int, at least 515. Largest number of tokens: 256 bytes inside a
            word, 256 at its end, the start and end tokens, and merged pairs.

    Returns:
        `keras_hub.models.CLIPTokenizer`.

    Raises:
        ValueError: if `vocab_size` is too small.

    Reference: Sennrich et al., 2016, https://arxiv.org/abs/1508.07909.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    singles = [*alphabet, *(letter + _WORD_END for letter in alphabet)]
    room = vocab_size - len(singles) - 2
    if room < 1:
        raise ValueError(
            f"vocab_size must exceed {len(singles) + 2}, the single bytes and two "
            f"special tokens. Received: {vocab_size}"
        )
    merges = _learn_merges(counts, alphabet, room)
    # The end token last: CLIP reads a text at its highest id.
    tokens = [*singles, *("".join(pair) for pair in merges), _START, _END]
    return keras_hub.models.CLIPTokenizer(
        {token: token_id for token_id, token in enumerate(tokens)},
        [" ".join(pair) for pair in merges],
    )


def _learn_merges(counts, alphabet, room):
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + room,
        min_frequency=1,
        initial_alphabet=alphabet,
        # Numbered here, because the order of a hash map, which decides between pairs of
        # equal counts, differs from process to process.
        special_tokens=[letter + _WORD_END for letter in alphabet],
        end_of_word_suffix=_WORD_END,
        show_progress=False,
    )
    scale = min(1.0, _MAX_USES / max(1, sum(counts.values())))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    uses = (w for w in words for _ in range(max(1, round(counts[w] * scale))))
    learner.train_from_iterator(uses, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    # Different pairs may give the same token, which is one entry.
    unique = {"".join(pair): tuple(pair) for pair in reversed(merges)}
    kept = [tuple(pair) for pair in merges if unique["".join(pair)] == tuple(pair)]
    return kept[:room]


class CLIPTokens:
    """Converts texts to the `token_ids` of a CLIP.

    Args:
        tokenizer: `keras_hub.models.CLIPTokenizer`.
        max_tokens: int > 2. Maximum length, start and end tokens included; longer
            texts are truncated.
        words_only: whether to reduce texts to the words of `text.split_words` first,
            as is needed if the CLIP was trained on these only.

    Call arguments:
        texts: list of str.

    Returns:
        int32 `(texts, tokens)`, zeros after the end token.
    """

    def __init__(self, tokenizer, max_tokens: int = 77, words_only: bool = False):
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.words_only = words_only

    @property
    def are_of_clip(self) -> bool:
        """Whether they are the tokens of a pretrained CLIP, not learned ones."""
        return not self.words_only

    @property
    def start_id(self) -> int:
        """Id of the start token."""
        return self.tokenizer.start_token_id

    @property
    def end_id(self) -> int:
        """Id of the end token, the highest."""
        return self.tokenizer.end_token_id

    def rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes texts, in lower case.

        Returns:
            One int32 array `(tokens,)` per text, start and end tokens included.
        """
        if self.words_only:
            texts = [text.normalise(t, max_words=None) for t in texts]
        return [
            np.array(
                [self.start_id, *ids[: self.max_tokens - 2], self.end_id], np.int32
            )
            for ids in self._ids(texts)
        ]

    def pad(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Pads rows to a batch as long as its longest row.

        A CLIP's attention is causal, so padding does not change the embeddings.

        Args:
            rows: int32 arrays `(tokens,)`, from `rows`.

        Returns:
            int32 `(rows, tokens)`, zeros after the end token.
        """
        longest = max(map(len, rows), default=2)
        result = np.zeros((len(rows), longest), np.int32)
        for padded, ids in zip(result, rows, strict=True):
            padded[: len(ids)] = ids
        return result

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return self.pad(self.rows(texts))

    def rows_of_words(self, vocabulary: Sequence[str]) -> list[list[int]]:
        """Encodes each word of a vocabulary by itself.

        No token crosses a space, so a prompt's ids are those of its words, joined.

        Args:
            vocabulary: words in the order of their ids, special tokens first.

        Returns:
            One list of ids per word, without start and end; empty for special tokens.
        """
        words = vocabulary[len(text.SPECIAL_TOKENS) :]
        return [[] for _ in text.SPECIAL_TOKENS] + self._ids(words)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text before truncation, start and end included."""
        return [len(ids) + 2 for ids in self._ids(texts)]

    def _ids(self, texts):
        # For an empty list the tokenizer returns None.
        if not len(texts):
            return []
        # As OpenAI's tokenizer and that of transformers do.
        texts = [unicodedata.normalize("NFC", t).lower() for t in texts]
        return [list(map(int, row)) for row in self.tokenizer.tokenize(texts)]

    def describe(self) -> dict:
        """Returns everything that the ids depend on, as a JSON-compatible dict."""
        return {
            "vocabulary": dict(self.tokenizer.vocabulary),
            "merges": list(self.tokenizer.merges),
            "max_tokens": self.max_tokens,
            "words_only": self.words_only,
            "lower_case": True,
        }

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes the vocabulary and settings as JSON, and one merge per line."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = {"max_tokens": self.max_tokens, "words_only": self.words_only}
        vocabulary = dict(self.tokenizer.vocabulary)
        merges = "".join(f"{merge}\n" for merge in self.tokenizer.merges)
        files.write_json(folder / VOCABULARY, vocabulary)
        files.write_whole(folder / MERGES, merges.encode())
        # Last, because it marks the folder as complete.
        files.write_json(folder / SETTINGS, content)


def load_tokens(folder: str | pathlib.Path) -> CLIPTokens:
    """Loads tokens from a folder that `CLIPTokens.save` wrote.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged.
    """
    folder = pathlib.Path(folder)
    if not (folder / SETTINGS).is_file():
        raise FileNotFoundError(
            f"a tokenizer's folder must hold {SETTINGS}. Received: {folder}"
        )
    settings = files.read_json(folder / SETTINGS)
    return CLIPTokens(load_tokenizer(folder), **settings)


def load_tokenizer(source: str | pathlib.Path) -> keras_hub.models.CLIPTokenizer:
    """Loads the tokenizer of a pretrained CLIP.

    Args:
        source: KerasHub CLIP preset or its folder, or a folder with a vocabulary
            (`vocabulary.json`, or transformers' `vocab.json`) and `merges.txt`, or
            with transformers' `tokenizer.json`.

    Raises:
        ValueError: if it is neither there nor downloadable, or a file is damaged.
    """
    folder = pathlib.Path(source)
    found = _read_pairs(folder) or _read_whole(folder)
    if found:
        return keras_hub.models.CLIPTokenizer(*found)
    try:
        return keras_hub.models.CLIPTokenizer.from_preset(str(source))
    # Hubs raise errors of several libraries, from requests' to h5py's.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"a tokenizer must be a KerasHub preset within reach or a folder with "
            f"{VOCABULARY} and {MERGES}. Received: {source} ({reason})"
        ) from error


def _read_pairs(folder):
    """Vocabulary and merges from two files; None if one of them is missing."""
    names = [name for name in _VOCABULARIES if (folder / name).is_file()]
    if not names or not (folder / MERGES).is_file():
        return None
    vocabulary = files.read_json(folder / names[0])
    merges = (folder / MERGES).read_text(encoding="utf-8").split("\n")
    return vocabulary, [
        m for m in merges if m.strip() and not m.startswith("#version:")
    ]


def _read_whole(folder):
    """Vocabulary and merges from transformers' single file; None if it is missing.

    KerasHub's file of the same name has neither.
    """
    path = folder / _WHOLE
    content = files.read_json(path) if path.is_file() else {}
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not {"vocab", "merges"} <= model.keys():
        return None
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return model["vocab"], merges
