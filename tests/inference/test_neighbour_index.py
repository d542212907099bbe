import logging
import tracemalloc

import numpy as np
import pytest

from tf_prompt.data import vectors
from tf_prompt.inference import neighbour_index
from tf_prompt.inference.neighbour_index import NeighbourIndex


def draw(rows=500, depth=16, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, depth)).astype("float32")
    return features, rng.normal(size=(rows, dim)).astype("float32")


def draw_clusters(rows, depth, num_clusters, seed=0):
    """Points around centres at random, as far from theirs as the centres from 0."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_clusters, depth)).astype("float32")
    points = centres[rng.integers(num_clusters, size=rows)]
    points += rng.normal(size=(rows, depth)).astype("float32")
    return points


def cosines_of(queries, features):
    a = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return a @ (features / np.linalg.norm(features, axis=1, keepdims=True)).T


def recall_of(index, queries, k):
    exact, _ = vectors.nearest_rows(queries, index.features, k)
    found, _ = index.search(queries, k)
    return np.mean(
        [len(set(a) & set(b)) / k for a, b in zip(exact, found, strict=True)]
    )


def test_search_equals_scikit_learn():
    sklearn_neighbours = pytest.importorskip("sklearn.neighbors")
    features, embeddings = draw()
    queries = draw(rows=40, seed=1)[0]
    model = sklearn_neighbours.NearestNeighbors(metric="cosine").fit(features)
    distances, expected = model.kneighbors(queries, 7)
    rows, cosines = NeighbourIndex(features, embeddings, k=7).search(queries)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(cosines, 1 - distances, atol=1e-5)


@pytest.mark.parametrize("k", [1, 6, 500])
def test_blocks_change_nothing(k, monkeypatch):
    features, _ = draw()
    queries = draw(rows=30, seed=1)[0]
    monkeypatch.setattr(vectors, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(vectors, "ROWS_AT_ONCE", 13)
    rows, cosines = vectors.nearest_rows(queries, features, k)
    expected = np.argsort(-cosines_of(queries, features), axis=1)[:, :k]
    np.testing.assert_array_equal(rows, expected)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_prediction_by_hand():
    """Cosines 1, 0.8 and 0; k = 2 and sharpness 5 ln 3 weigh the first 3 to 1.

    The weights' ratio is e^(5 ln 3 * (1 - 0.8)) = 3: 0.75 (1, 0) + 0.25 (0, 1)
    points along (3, 1).
    """
    features = np.array([[2.0, 0.0], [4.0, 3.0], [0.0, 1.0]])
    embeddings = np.array([[1.0, 0.0], [0.0, 9.0], [-1.0, 0.0]])
    index = NeighbourIndex(features, embeddings, k=2, sharpness=5 * np.log(3))
    found = index.predict(np.array([[7.0, 0.0]]))
    np.testing.assert_allclose(found, [[3 / 10**0.5, 1 / 10**0.5]], atol=1e-6)


def test_no_sharpness_weighs_all_alike_and_much_takes_the_nearest():
    features = np.array([[1.0, 0.1], [1.0, 1.0]])
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0]])
    query = np.array([[1.0, 0.0]])
    alike = NeighbourIndex(features, embeddings, k=2, sharpness=0).predict(query)
    np.testing.assert_allclose(alike, [[0.5**0.5, 0.5**0.5]], atol=1e-6)
    nearest = NeighbourIndex(features, embeddings, k=2, sharpness=1e4).predict(query)
    np.testing.assert_allclose(nearest, [[1, 0]], atol=1e-6)


def test_opposite_neighbours_still_give_unit_length():
    features = np.array([[1.0, 0.0], [1.0, 0.0]])
    embeddings = np.array([[1.0, 0.0], [-1.0, 0.0]])
    index = NeighbourIndex(features, embeddings, k=2, sharpness=0)
    found = index.predict(np.array([[1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_choice_finds_what_the_data_were_made_with():
    """Every query has 4 rows near it, whose embeddings are the target and noise."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(120, 32)) * 10
    targets = rng.normal(size=(120, 24))
    features = np.repeat(places, 4, axis=0) + rng.normal(size=(480, 32))
    embeddings = np.repeat(targets, 4, axis=0) + rng.normal(size=(480, 24))
    index = NeighbourIndex(features, embeddings, k=1)
    best = neighbour_index.choose_settings(
        index, places, targets, sharpnesses=[0.0, 5.0]
    )
    assert (best.k, index.k) == (4, 4) and index.sharpness == best.sharpness
    unit = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    score = (index.predict(places) * unit).sum(axis=1).mean()
    assert best.cosine == pytest.approx(score, abs=1e-6)
    assert best.cosine > 0.85


def test_equal_choices_take_the_simpler():
    features, _ = draw(rows=20)
    index = NeighbourIndex(features, np.ones((20, 3)))
    best = neighbour_index.choose_settings(index, features[:5], np.ones((5, 3)))
    assert (best.k, best.sharpness) == (1, 0.0)


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_saved_index_predicts_the_same(search, tmp_path):
    if search == "faiss":
        pytest.importorskip("faiss")
    features, embeddings = draw()
    index = NeighbourIndex(features, embeddings, 5, 7.5, search)
    index.save(tmp_path / "index")
    # Again, over the first one.
    index.save(tmp_path / "index")
    loaded = NeighbourIndex.load(tmp_path / "index")
    assert (loaded.k, loaded.sharpness) == (5, 7.5)
    assert loaded.is_exact == (search == "exact")
    assert isinstance(loaded.features, np.memmap)
    queries = draw(rows=20, seed=1)[0]
    np.testing.assert_array_equal(loaded.predict(queries), index.predict(queries))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_interrupted_saving_keeps_the_former_index(tmp_path, monkeypatch):
    NeighbourIndex(*draw(), k=3).save(tmp_path / "index")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(neighbour_index, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        NeighbourIndex(*draw(), k=4).save(tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert NeighbourIndex.load(tmp_path / "index").k == 3


def test_damaged_and_missing_indices_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Received: .*absent"):
        NeighbourIndex.load(tmp_path / "absent")
    NeighbourIndex(*draw()).save(tmp_path / "index")
    path = tmp_path / "index" / "features.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="intact. Received: .*features.npy"):
        NeighbourIndex.load(tmp_path / "index")
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="intact. Received: .*features.npy"):
        NeighbourIndex.load(tmp_path / "index")


def test_search_of_a_memory_map_stays_small(tmp_path):
    """50 MB of features, of which a search holds a block at a time."""
    features = np.lib.format.open_memmap(
        tmp_path / "f.npy", "w+", np.float32, (400_000, 32)
    )
    rng = np.random.default_rng(0)
    for start in range(0, len(features), 50_000):
        features[start : start + 50_000] = rng.normal(size=(50_000, 32))
    embeddings = np.ones((len(features), 2), np.float32)
    queries = np.array(features[::8000])
    tracemalloc.start()
    try:
        index = NeighbourIndex(features, embeddings, k=4, search="exact")
        rows, _ = index.search(queries)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(rows[:, 0], np.arange(0, 400_000, 8000))
    assert peak < 30e6


def test_faiss_finds_nearly_all(tmp_path):
    pytest.importorskip("faiss")
    points = draw_clusters(4200, 32, 60)
    index = NeighbourIndex(points[:4000], points[:4000], k=8, search="faiss")
    assert not index.is_exact
    rows, cosines = index.search(points[4000:])
    expected = np.take_along_axis(
        cosines_of(points[4000:], points[:4000]), rows, axis=1
    )
    np.testing.assert_allclose(cosines, expected, atol=1e-5)
    assert recall_of(index, points[4000:], 8) > 0.95


@pytest.mark.slow
def test_faiss_recall_on_100_000_clustered_vectors():
    pytest.importorskip("faiss")
    points = draw_clusters(100_500, 256, 1000)
    index = NeighbourIndex(points[:100_000], points[:100_000], search="faiss")
    assert recall_of(index, points[100_000:], 20) > 0.99


def test_large_sets_use_faiss_where_it_is_installed(monkeypatch, caplog):
    monkeypatch.setattr(neighbour_index, "FAISS_ABOVE", 400)
    if neighbour_index.importlib.util.find_spec("faiss"):
        assert not NeighbourIndex(*draw()).is_exact
    monkeypatch.setattr(neighbour_index.importlib.util, "find_spec", lambda _: None)
    with caplog.at_level(logging.WARNING):
        assert NeighbourIndex(*draw()).is_exact
    assert 'pip install "tf_prompt[search]"' in caplog.text


def test_missing_faiss_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ValueError, match=r'pip install "tf_prompt\[search\]"'):
        NeighbourIndex(*draw(), search="faiss")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"k": 0}, "k must be between 1 and .* 500. Received: 0"),
        ({"k": 501}, "Received: 501"),
        ({"sharpness": -1}, "sharpness.*Received: -1"),
        ({"search": "fast"}, "auto, exact, faiss. Received: fast"),
        ({"embeddings": np.zeros((3, 8))}, r"Received: \(500, 16\) and \(3, 8\)"),
        (
            {"features": np.full((500, 16), np.nan)},
            "finite. Received: non-finite row 0",
        ),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    features, embeddings = draw()
    with pytest.raises(ValueError, match=message):
        NeighbourIndex(**{"features": features, "embeddings": embeddings, **changes})


def test_bad_queries_are_refused():
    index = NeighbourIndex(*draw())
    with pytest.raises(ValueError, match=r"\(queries, 16\). Received: \(2, 3\)"):
        index.search(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="must not be empty"):
        neighbour_index.choose_settings(index, np.zeros((0, 16)), np.zeros((0, 8)))
    assert index.predict(np.zeros((0, 16))).shape == (0, 8)


@pytest.mark.parametrize("header", [b"{'a': (", b"\\", b"{1:", b"\0\0", b"{[]: 1}"])
def test_a_header_that_is_no_python_is_named(tmp_path, header):
    NeighbourIndex(*draw(4)[:2], k=1).save(tmp_path / "index")
    path = tmp_path / "index" / "features.npy"
    data = path.read_bytes()
    path.write_bytes(data[:10] + header.ljust(118) + data[128:])
    with pytest.raises(ValueError, match="intact. Received: .*features.npy"):
        NeighbourIndex.load(tmp_path / "index")
