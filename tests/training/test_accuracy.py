import numpy as np
import pytest

from tf_prompt.training.accuracy import TokenAccuracy

# Two prompts, the second one word shorter; 4 tokens in the vocabulary.
TARGETS = np.array([[3, 2], [1, 0]])
LOGITS = np.array([[[1, 2, 3, 4], [1, 1, 7, 1]], [[2, 1, 6, 1], [9, 0, 0, 0]]], "f4")


def test_padding_never_counts():
    accuracy = TokenAccuracy()
    accuracy.update_state(TARGETS, LOGITS)
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_words_weigh_the_same_in_every_batch():
    accuracy = TokenAccuracy()
    accuracy.update_state(TARGETS, LOGITS)  # 2 of 3
    accuracy.update_state([[1, 0]], LOGITS[:1])  # 0 of 1
    assert float(accuracy.result()) == pytest.approx(2 / 4)
