import numpy as np

from tf_prompt.training.retrieval_settings import choose_settings

CHOICES = {
    "text_weight": (0.0, 1.0),
    "num_neighbours": (1, 3),
    "sharpness": (1.0, 100.0),
}


def test_the_majority_is_asked_where_the_nearest_is_wrong():
    # The nearest says "a cat", the next two agree with the truth.
    rows = np.array([[1, 0, 0], [0.98, 0.2, 0], [0.98, 0.2, 0]], np.float16)
    prompts = ["a cat", "a red dog sits here", "a red dog sits"]
    queries = np.array([[1, 0]], np.float32), np.array([[1]], np.float32)
    found = choose_settings(rows, prompts, queries, ["a red dog sits"], [1], CHOICES)
    assert found["num_neighbours"] == 3 and found["sharpness"] == 1


def test_words_count_where_features_do_not_tell():
    rows = np.array([[1, 0, 1, 0], [1, 0, 0, 1]], np.float16)
    queries = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    found = choose_settings(
        rows, ["a cat", "an owl"], queries, ["an owl"], [1], CHOICES
    )
    assert found["text_weight"] == 1


def test_of_equals_the_first_is_taken():
    rows = np.array([[1, 0]], np.float16)
    queries = np.array([[1]], np.float32), np.array([[1]], np.float32)
    found = choose_settings(rows, ["a cat"], queries, ["a cat"], [1], CHOICES)
    assert found == {"text_weight": 0, "num_neighbours": 1, "sharpness": 1}


def test_a_large_family_counts_as_one():
    # Words lead two images of one family to the truth, and mislead that of another.
    rows = np.array([[1, 0, 1, 0], [0.9, 0.4, 0, 1]], np.float16)
    features = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    words = np.array([[0, 1], [0, 1], [0, 1]], np.float32)
    true = ["an owl", "an owl", "a cat sits"]
    prompts = ["a cat sits", "an owl"]
    for families, weight in (([1, 2, 3], 1), ([1, 1, 3], 0)):
        found = choose_settings(
            rows, prompts, (features, words), true, families, CHOICES
        )
        assert found["text_weight"] == weight
