"""The PyTorch twins: they decode step by step as they do at once, and as ours."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import accelerator, twins  # noqa: E402
from tf_prompt.models import presets  # noqa: E402

BATCH, TOKENS, WORDS = 2, 3, 30


@pytest.fixture(scope="module", params=twins.TWINS)
def preset(request):
    return request.param


@pytest.fixture(scope="module")
def twin(preset):
    torch.manual_seed(0)
    return twins.TWINS[preset](WORDS).eval()


def draw():
    rng = np.random.default_rng(0)
    regions = rng.random((BATCH, 49, 2048), "float32")
    return regions, rng.integers(0, WORDS, (BATCH, TOKENS))


def test_steps_give_the_logits_of_whole_prompts(twin):
    regions, token_ids = map(torch.from_numpy, draw())
    with torch.no_grad():
        expected = twin.decode(regions, token_ids)
        state, memory = twin.start(regions, TOKENS)
        for place in range(TOKENS):
            words = token_ids[:, place]
            logits, state = twin.step(words, torch.tensor(place), state, memory)
            torch.testing.assert_close(logits, expected[:, place])


def test_half_precision_stays_half(twin):
    regions, token_ids = map(torch.from_numpy, draw())
    half = copy.deepcopy(twin).bfloat16()
    with torch.no_grad():
        state, memory = half.start(regions.bfloat16(), TOKENS)
        logits, _ = half.step(token_ids[:, 0], torch.tensor(0), state, memory)
    assert logits.dtype == torch.bfloat16


def test_flop_of_a_step_of_the_lstm():
    with torch.device("meta"), torch.no_grad():
        twin = twins.TWINS["lstm_base"](WORDS)
        state, memory = twin.start(torch.zeros(BATCH, 49, 2048), TOKENS)
        words = torch.zeros(BATCH, dtype=torch.long)
        flop = accelerator.count_flop(lambda: twin.step(words, None, state, memory))
    attention = 512 * 256 + 49 * 256
    cell = (512 + 2048) * 2048 + 512 * 2048
    assert flop == 2 * BATCH * (attention + 512 * 2048 + cell + 512 * WORDS)


def test_copied_weights_give_equal_losses(preset, twin):
    encoder = {"encoder": "conv", "conv_filters": (8, 2048), "image_size": 56}
    model = presets.build(preset, vocab_size=WORDS, **encoder)
    twin = copy.deepcopy(twin)
    _, token_ids = draw()
    assert not twins.same_loss(model, twin, token_ids, token_ids)
    twins.copy_weights(model, twin)
    assert twins.same_loss(model, twin, token_ids, token_ids)
