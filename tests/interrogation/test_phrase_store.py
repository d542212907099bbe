import tracemalloc

import keras_hub
import numpy as np
import pytest

from tf_prompt.interrogation import phrase_store
from tf_prompt.interrogation.phrase_store import PhraseStore, PhraseTable, embed_texts
from tf_prompt.models import clip
from tf_prompt.models.interrogator import CLIPInterrogator

DIM = 4


class LetterModel:
    """Stands in for a CLIP: a text's vector counts each of its first four letters.

    It notes the batches that it was given.
    """

    clip: dict = {}
    embedding_dim, precision = DIM, "float32"

    def __init__(self):
        self.batches = []
        self.text_network = self
        self.weights = ()

    def predict_on_batch(self, token_ids):
        self.batches.append(token_ids.shape)
        return np.stack([(token_ids == i).sum(axis=1) for i in range(1, DIM + 1)], 1)

    @property
    def num_texts(self):
        return sum(batch[0] for batch in self.batches)


class LetterTokens:
    """Gives each letter of a text its place in the alphabet."""

    def rows(self, texts):
        return [np.array([ord(letter) - 96 for letter in text]) for text in texts]

    def pad(self, rows):
        length = max(map(len, rows))
        return np.stack([np.pad(row, (0, length - len(row))) for row in rows])

    def describe(self):
        return {}


def make_table(folder, phrases, model=None):
    model = model or LetterModel()
    tables = PhraseStore(model, LetterTokens(), folder).make_tables({"t": phrases})
    return tables["t"].vectors, model


def test_texts_of_like_length_go_through_together(monkeypatch):
    monkeypatch.setattr(phrase_store, "_TOKENS_AT_ONCE", 8)
    model, told = LetterModel(), []
    texts = ["abcd", "a", "bbbb", "c", "dd", "abcdabcdabcd"]
    found = embed_texts(model, LetterTokens(), texts, told.append)
    expected = [[text.count(letter) for letter in "abcd"] for text in texts]
    np.testing.assert_array_equal(found, expected)
    # No more than eight tokens at once, but for the text that has more by itself.
    assert model.batches == [(3, 2), (2, 4), (1, 12)]
    assert told == [3, 2, 1]


def test_nothing_is_embedded_twice(tmp_path):
    vectors, model = make_table(tmp_path, ["a", "bb", "ccc"])
    np.testing.assert_array_equal(np.diag(vectors), [1, 2, 3])
    assert model.num_texts == 3
    # A phrase more, in another order: the new one alone is embedded.
    vectors, model = make_table(tmp_path, ["ccc", "d", "a", "bb", "a"])
    assert model.num_texts == 1
    np.testing.assert_array_equal(vectors.sum(axis=1), [3, 1, 1, 2, 1])
    again, model = make_table(tmp_path, ["ccc", "d", "a", "bb", "a"])
    assert model.num_texts == 0
    np.testing.assert_array_equal(again, vectors)


def test_a_killed_process_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(phrase_store, "SHARD_SIZE", 2)
    phrases = ["a", "b", "c", "d", "ab", "ac"]

    class Killed(LetterModel):
        def predict_on_batch(self, token_ids):
            if self.num_texts == 4:
                raise KeyboardInterrupt
            return super().predict_on_batch(token_ids)

    killed = Killed()
    with pytest.raises(KeyboardInterrupt):
        make_table(tmp_path, phrases, killed)
    vectors, model = make_table(tmp_path, phrases)
    assert killed.num_texts == 4 and model.num_texts == 2
    fresh, _ = make_table(tmp_path / "other", phrases)
    np.testing.assert_array_equal(vectors, fresh)


def test_a_damaged_file_is_made_again(tmp_path):
    before, _ = make_table(tmp_path, ["a", "bb"])
    (path,) = tmp_path.glob("*/*.npz")
    for damaged in (path.read_bytes()[:-30], b"", b"PK\x03\x04"):
        path.write_bytes(damaged)
        after, model = make_table(tmp_path, ["a", "bb"])
        assert model.num_texts == 2
        np.testing.assert_array_equal(after, before)


def test_a_whole_cache_need_not_be_written(tmp_path):
    make_table(tmp_path, ["a", "bb"])
    (folder,) = tmp_path.iterdir()
    names = sorted(path.name for path in folder.iterdir())
    make_table(tmp_path, ["bb"])
    assert sorted(path.name for path in folder.iterdir()) == names


def test_vectors_that_are_none_are_refused(tmp_path):
    class Overflowing(LetterModel):
        precision = "float16"

        def predict_on_batch(self, token_ids):
            return np.full((len(token_ids), DIM), np.nan)

    with pytest.raises(ValueError, match="finite numbers. Received: others in float16"):
        make_table(tmp_path, ["a"], Overflowing())
    assert not list(tmp_path.glob("*/*.npz"))


def test_other_weights_and_another_precision_are_told_apart():
    tokens = LetterTokens()
    model = CLIPInterrogator("tiny", vocab_size=20, image_size=32)
    before = phrase_store.fingerprint(model, tokens)
    assert phrase_store.fingerprint(model, tokens) == before
    weight = model.text_network.trainable_weights[0]
    weight.assign(weight + 1)
    assert phrase_store.fingerprint(model, tokens) != before
    one, other = LetterModel(), LetterModel()
    other.precision = "float16"
    keys = {phrase_store.fingerprint(m, tokens) for m in (one, other)}
    assert len(keys) == 2


def test_many_phrases_are_ranked_in_blocks():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40_000, 4)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = PhraseTable(list(map(str, range(40_000))), vectors)
    queries = vectors[[17, 39_999]]
    products = (queries @ vectors.T).astype("float64")
    for lowest, sign in ((False, -1), (True, 1)):
        scores, indices = table.rank(queries, 3, lowest)
        expected = np.argsort(sign * products, axis=1, kind="stable")[:, :3]
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(
            scores, np.take_along_axis(products, expected, 1), atol=1e-6
        )


def test_a_large_table_is_mapped_from_disk(tmp_path, monkeypatch):
    held, _ = make_table(tmp_path, ["a", "bb"])
    monkeypatch.setattr(phrase_store, "_HELD_BYTES", 31)
    mapped, _ = make_table(tmp_path, ["a", "bb"])
    assert isinstance(mapped, np.memmap) and not isinstance(held, np.memmap)
    np.testing.assert_array_equal(mapped, held)


@pytest.mark.slow
@pytest.mark.long
def test_memory_does_not_hold_the_vectors_of_100_000_phrases(tmp_path):
    """With a text tower of one block, 8 wide, whose 512 numbers a phrase are 205 MB."""
    vision = keras_hub.models.CLIPVisionEncoder(8, 8, 1, 1, 8, image_shape=(8, 8, 3))
    text = keras_hub.models.CLIPTextEncoder(12, 8, 8, 1, 1, 8, max_sequence_length=8)
    backbone = keras_hub.models.CLIPBackbone(vision, text, 512)
    model = CLIPInterrogator(clip.describe(backbone))

    class Tokens(LetterTokens):
        def rows(self, texts):
            return [np.array([10, *map(int, text), 11]) for text in texts]

    phrases = [f"{number:06}" for number in range(100_000)]
    tracemalloc.start()
    try:
        table = PhraseStore(model, Tokens(), tmp_path).make_tables({"t": phrases})["t"]
        scores, indices = table.rank(np.array(table.vectors[[7, 99_999]]), 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(indices, [[7], [99_999]])
    # Phrases and where they lie take about 30 MB, a block of ranking 34.
    assert peak < 100e6
    assert len(table.vectors) * model.embedding_dim * 4 > 2 * peak
