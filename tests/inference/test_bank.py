import types

import numpy as np
import pytest

from tf_prompt.inference import bank
from tf_prompt.metrics import prompt_embedder


@pytest.fixture
def embedder(monkeypatch):
    """Stands for MiniLM: a text's embedding is drawn by its length and first letter."""
    calls = []

    def embed(texts, _):
        calls.append(list(texts))
        rows = [np.random.default_rng([len(t), ord(t[0])]) for t in texts]
        vectors = np.stack([rng.normal(size=384) for rng in rows])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(prompt_embedder, "embed", embed)
    monkeypatch.setattr(prompt_embedder, "signature", lambda fake: fake.source)
    return types.SimpleNamespace(source="fake", calls=calls, embed=embed)


def test_nearest_by_hand():
    embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    found = bank.PromptBank(["east", "north east", "north"], embeddings)
    prompts, cosines = found.nearest(np.array([[0.0, 5.0], [8.0, 6.0]]), k=2)
    assert prompts == [["north", "north east"], ["north east", "east"]]
    np.testing.assert_allclose(cosines, [[1, 0.8], [0.96, 0.8]], atol=1e-6)


def test_prompts_are_embedded_once(embedder, tmp_path):
    first = bank.build_bank(["a cat", "dogs", "a cat"], embedder, tmp_path / "cache")
    assert first.prompts == ["a cat", "dogs"]
    again = bank.build_bank(["a cat", "dogs"], embedder, tmp_path / "cache")
    assert embedder.calls == [["a cat", "dogs"]]
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
    found, cosines = again.nearest(embedder.embed(["dogs"], None))
    assert found == [["dogs"]] and cosines[0, 0] == pytest.approx(1, abs=1e-6)
    (path,) = (tmp_path / "cache").iterdir()
    assert path.suffix == ".npy"


@pytest.mark.parametrize("other", [["a", "bc"], ["abc"], ["c", "ab"]])
def test_another_bank_is_another_file(embedder, tmp_path, other):
    bank.build_bank(["ab", "c"], embedder, tmp_path)
    bank.build_bank(other, embedder, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_another_model_is_another_file(embedder, tmp_path):
    bank.build_bank(["ab"], embedder, tmp_path)
    embedder.source = "other"
    bank.build_bank(["ab"], embedder, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_cache_is_written_again(embedder, tmp_path):
    expected = np.array(bank.build_bank(["ab", "c"], embedder, tmp_path).embeddings)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    found = bank.build_bank(["ab", "c"], embedder, tmp_path)
    np.testing.assert_array_equal(found.embeddings, expected)


def test_interrupted_embedding_leaves_nothing(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(bank, "_PROMPTS_AT_ONCE", 1)
    embed = prompt_embedder.embed

    def stop_at_second(texts, fake):
        if embedder.calls:
            raise KeyboardInterrupt
        return embed(texts, fake)

    monkeypatch.setattr(prompt_embedder, "embed", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        bank.build_bank(["ab", "c"], embedder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_training_prompts_have_the_targets_of_their_images(tiny_shards, minilm):
    found = bank.training_bank(tiny_shards)
    assert len(found.prompts) == len(set(found.prompts)) == 12
    prompt = "A bright white patch, middle!"
    vector = prompt_embedder.embed([prompt], minilm)
    (best,), cosines = found.nearest(vector)
    assert best == [prompt]
    np.testing.assert_allclose(cosines, 1, atol=1e-5)


def test_file_of_prompts(tmp_path):
    path = tmp_path / "bank.txt"
    path.write_text("\ufeffa cat\r\n\n  zwei Häuser \na cat\nline\u2028inside", "utf-8")
    assert bank.read_bank(path) == ["a cat", "zwei Häuser", "line\u2028inside"]


def test_bad_banks_are_named(embedder, tmp_path):
    with pytest.raises(FileNotFoundError, match="Received: .*absent.txt"):
        bank.read_bank(tmp_path / "absent.txt")
    path = tmp_path / "bank.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8 text. Received: .*bank.txt"):
        bank.read_bank(path)
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="one prompt per line. Received: .*bank.txt"):
        bank.read_bank(path)
    with pytest.raises(ValueError, match="at least one text"):
        bank.build_bank([], embedder, tmp_path)
    with pytest.raises(ValueError, match="Received: 1 and 2"):
        bank.PromptBank(["a"], np.zeros((2, 384)))
    with pytest.raises(ValueError, match="Received: 3"):
        bank.PromptBank(["a"], np.ones((1, 384))).nearest(np.ones((1, 384)), k=3)


@pytest.mark.slow
def test_true_embeddings_find_their_prompts(tmp_path, minilm):
    prompts = ["a cat on a sofa", "a castle in the snow, oil on canvas", "two robots"]
    found = bank.build_bank(prompts, minilm, tmp_path)
    written = ["robots", "a winter castle, painted"]
    nearest, cosines = found.nearest(prompt_embedder.embed(written, minilm))
    assert nearest == [["two robots"], [prompts[1]]]
    assert cosines.min() > 0.6
