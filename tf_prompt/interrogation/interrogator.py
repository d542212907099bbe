"""Ranks phrases by CLIP similarity with images, and builds prompts from them."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tf_prompt.data import images
from tf_prompt.interrogation.chains import Chain, chain_up
from tf_prompt.interrogation.config import InterrogationConfig
from tf_prompt.interrogation.growing import Grower
from tf_prompt.interrogation.phrase_store import PhraseStore, embed_texts
from tf_prompt.metrics import prompt_embedder

# Tables whose best phrase `classic` uses, in order, and its number of flavours.
CLASSIC = ("media", "artists", "movements")
CLASSIC_FLAVOURS = 3
# Tables that describe the content of the image, used without a captioner.
SCENE = ("subjects", "settings")


@dataclasses.dataclass
class Interrogated:
    """The result of interrogating an image.

    Args:
        prompt: the prompt.
        similarity: its cosine with the image, -1 to 1.
        phrases: dict from table to pairs of phrase and cosine, the most similar first;
            in the mode `negative` the least similar.
        embedding: float32 `(384,)`, the prompt's MiniLM embedding; None if not wanted.
    """

    prompt: str
    similarity: float
    phrases: dict[str, list[tuple[str, float]]]
    embedding: np.ndarray | None = dataclasses.field(
        default=None, repr=False, compare=False
    )


class Try(NamedTuple):
    """A candidate chain with one more phrase.

    Args:
        image: index of the image in its batch.
        chain: the extended chain.
        cosine: cosine of the phrase alone.
    """

    image: int
    chain: Chain
    cosine: float


class Interrogator:
    """Finds phrases and a prompt for each image of a batch.

    Args:
        model: a `CLIPInterrogator`.
        tokens: its `CLIPTokens` or `PackedTokens`.
        tables: dict from table to phrases.
        cache_dir: folder for the embeddings of phrases, see `PhraseStore`.
        options: how to interrogate.
        captioner: function from uint8 images `(batch, size, size, 3)` to captions, with
            which the prompts start; None starts prompts without a caption.
        embedder: from `prompt_embedder.load_embedder`; None leaves embeddings out.
        resizing: see `images.decode_image`; a pretrained model needs the filter of its
            training.

    Raises:
        ValueError: if there is no phrase.
    """

    def __init__(
        self,
        model,
        tokens,
        tables: Mapping[str, Sequence[str]],
        cache_dir: str | pathlib.Path,
        options: InterrogationConfig | None = None,
        captioner=None,
        embedder=None,
        resizing: str = images.BILINEAR,
    ):
        require_phrases(tables)
        self.model, self.tokens = model, tokens
        self.options = options or InterrogationConfig()
        self.captioner, self.embedder = captioner, embedder
        self._resizing, self._grow = resizing, Grower(model, tokens)
        self.tables = PhraseStore(model, tokens, cache_dir).make_tables(
            {name: phrases for name, phrases in tables.items() if phrases}
        )

    def decode(self, data: bytes):
        """Decodes an image file for the model.

        Args:
            data: content of the file.

        Returns:
            uint8 `(image_size, image_size, 3)`.

        Raises:
            tf.errors.InvalidArgumentError: as `images.decode_image`.
        """
        return images.decode_image(data, self.model.image_size, self._resizing)

    def __call__(self, pixels, captions=None) -> list[Interrogated]:
        """Interrogates a batch of images.

        Args:
            pixels: uint8 `(batch, image_size, image_size, 3)`.
            captions: one per image, used instead of the captioner's; None runs the
                captioner, if there is one.

        Returns:
            list of one `Interrogated` per image.
        """
        vectors = self.model.image_network.predict_on_batch(pixels)
        if captions is None and self.captioner is not None:
            captions = self.captioner(pixels)
        chains = [Chain(c) for c in captions or [""] * len(vectors)]
        num = max(self.options.top, self.options.candidates)
        if self.options.mode == "negative":
            chains, ranked = self._negative(vectors, self._rank(vectors, num, True))
        else:
            ranked = self._rank(vectors, num, False)
            make = {"fast": self._fast, "classic": self._classic, "best": self._best}
            chains = make[self.options.mode](vectors, ranked, chains)
        prompts = [chain.text for chain in chains]
        similarities = np.einsum("bd,bd->b", vectors, self._encode(prompts))
        results = [
            Interrogated(prompt, float(similarity), self._top(row))
            for prompt, similarity, row in zip(
                prompts, similarities, ranked, strict=True
            )
        ]
        self._embed(results)
        return results

    def _rank(self, vectors, num, lowest):
        """Ranks phrases for each image: by table, pairs of phrase and cosine."""
        rows: list[dict[str, list[tuple[str, float]]]] = [{} for _ in vectors]
        for name, table in self.tables.items():
            scores, indices = table.rank(vectors, num, lowest)
            for row, cosines, numbers in zip(rows, scores, indices, strict=True):
                row[name] = [
                    (table.phrases[number], float(score))
                    for number, score in zip(numbers, cosines, strict=True)
                ]
        return rows

    def _top(self, row):
        return {name: pairs[: self.options.top] for name, pairs in row.items()}

    def _fast(self, vectors, ranked, chains):
        return [
            chain_up(chain.caption, _merge(row, self.options.top))
            for row, chain in zip(ranked, chains, strict=True)
        ]

    def _classic(self, vectors, ranked, chains):
        made = []
        for row, chain in zip(ranked, chains, strict=True):
            tables = CLASSIC if chain.caption else (*SCENE, *CLASSIC)
            parts = [(name, row[name][0][0]) for name in tables if name in row]
            # A user's tables count as flavours.
            others = set(row) - {*SCENE, *CLASSIC}
            flavours = {name: row[name] for name in row if name in others}
            parts += _merge(flavours, CLASSIC_FLAVOURS)
            made.append(chain_up(chain.caption, parts))
        return made

    def _negative(self, vectors, ranked):
        chains = [
            Chain(parts=tuple(_merge(row, self.options.top, lowest=True)))
            for row in ranked
        ]
        # Not a scene, only a list of what the image does not show.
        listed = [
            Chain(parts=tuple(("flavours", phrase) for _, phrase in chain.parts))
            for chain in chains
        ]
        return listed, ranked

    def _best(self, vectors, ranked, chains):
        """Grows all chains of a batch together, one phrase per step."""
        chains = [
            chain if chain.caption else chain_up("", _first(row))
            for row, chain in zip(ranked, chains, strict=True)
        ]
        best = np.full(len(chains), -np.inf)
        begun = [i for i, chain in enumerate(chains) if chain.text]
        if begun:
            texts = self._encode([chains[i].text for i in begun])
            best[begun] = np.einsum("bd,bd->b", vectors[begun], texts)
        growing, least = list(range(len(chains))), self.options.min_gain
        for _ in range(self.options.max_phrases):
            tries = [
                Try(i, chains[i].add(name, phrase), cosine)
                for i in growing
                for name, pairs in ranked[i].items()
                for phrase, cosine in pairs[: self.options.candidates]
                if chains[i].has_room(name, phrase)
            ]
            scores = self._score(vectors, tries, chains)
            growing = []
            for index in np.argsort(-scores, kind="stable"):
                image = tries[index].image
                if image not in growing and scores[index] > best[image] + least:
                    best[image], chains[image] = scores[index], tries[index].chain
                    growing.append(image)
            if not growing:
                break
        return chains

    def _score(self, vectors, tries, chains):
        """Compares each candidate with its image; equal texts are embedded once."""
        # Single phrases were compared when the tables were ranked.
        scores = np.array([t.cosine for t in tries], np.float64)
        grown = [i for i, t in enumerate(tries) if chains[t.image].text]
        if not grown:
            return scores
        owners = {tries[i].chain.text: tries[i].image for i in grown}
        shown = sorted(set(owners.values()))
        texts = self._grow(
            list(owners),
            [chains[image].text for image in shown],
            [shown.index(image) for image in owners.values()],
        )
        rows = {text: row for row, text in enumerate(owners)}
        of = [rows[tries[i].chain.text] for i in grown]
        own = vectors[[tries[i].image for i in grown]]
        scores[grown] = np.einsum("bd,bd->b", own, texts[of])
        return scores

    def _encode(self, texts):
        return embed_texts(self.model, self.tokens, texts)

    def _embed(self, results):
        if self.embedder is None or not results:
            return
        vectors = prompt_embedder.embed(
            [result.prompt for result in results], self.embedder
        )
        for result, vector in zip(results, vectors, strict=True):
            result.embedding = vector


def require_phrases(tables: Mapping[str, Sequence[str]]) -> None:
    """Checks that tables hold at least one phrase.

    Raises:
        ValueError: if they do not.
    """
    if not any(tables.values()):
        raise ValueError("phrases must not be empty. Received: no phrase")


def _first(row) -> list[tuple[str, str]]:
    """The best subject, if there is a table of subjects."""
    return [("subjects", phrase) for phrase, _ in row.get("subjects", [])[:1]]


def _merge(row, num, lowest=False) -> list[tuple[str, str]]:
    """The best phrases of all tables, as pairs of table and phrase."""
    sign = 1 if lowest else -1
    scored: Iterable = (
        (sign * score, name, phrase)
        for name, pairs in row.items()
        for phrase, score in pairs
    )
    return [(name, phrase) for _, name, phrase in sorted(scored)[:num]]
