import numpy as np
import pytest

from tf_prompt.decoding.config import DecodingConfig
from tf_prompt.inference import captioner


def at(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=-1)[None].astype("f4")


def test_the_middle_of_equals_is_chosen():
    # Cosines with all three: 1 + .87 + .5, 1 + .87 + .87, 1 + .87 + .5.
    assert captioner.choose(at(0, 30, 60), np.full((1, 3), 1 / 3, np.float32)) == [1]


def test_a_likely_candidate_outweighs_the_middle():
    # 0.9 + 0.05 * (.87 + .5) against 0.05 + 0.9 * .87 + 0.05 * .87.
    assert captioner.choose(at(0, 30, 60), np.float32([[0.9, 0.05, 0.05]])) == [0]


def test_absent_candidates_are_never_chosen():
    assert captioner.choose(at(0, 30, 60), np.float32([[0.5, 0.0, 0.5]])) == [0]


def test_beams_and_reranking_are_two_ways():
    with pytest.raises(ValueError, match="num_beams must be left out with rerank"):
        DecodingConfig(num_beams=2, rerank=4)
    with pytest.raises(ValueError, match="rerank must not be negative"):
        DecodingConfig(rerank=-1)
