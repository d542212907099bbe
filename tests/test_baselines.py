import numpy as np

from tf_prompt import baselines


def test_most_common_breaks_ties_by_alphabet():
    assert baselines.most_common(["b", "a", "c", "b", "a"]) == "a"


def test_nearest_neighbour_goes_by_angle_not_by_length():
    features = np.array([[1.0, 0.0], [0.0, 10.0], [5.0, 5.0]])
    queries = np.array([[9.0, 0.1], [0.1, 0.1], [0.0, 0.2]])
    found = baselines.nearest_neighbours(queries, features, ["x", "y", "xy"])
    assert found == ["x", "xy", "y"]


def test_blocks_change_nothing():
    rng = np.random.default_rng(0)
    features, queries = rng.normal(size=(50, 8)), rng.normal(size=(600, 8))
    prompts = [str(i) for i in range(50)]
    cosines = queries @ (features / np.linalg.norm(features, axis=1, keepdims=True)).T
    expected = [prompts[i] for i in cosines.argmax(axis=1)]
    assert baselines.nearest_neighbours(queries, features, prompts) == expected
