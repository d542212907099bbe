"""Decoding over a small table of logits, against slow searches in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tf_prompt.decoding import largest, sampling
from tf_prompt.decoding.rules import Rules
from tf_prompt.decoding.sampling import Sampling
from tf_prompt.decoding.search import Search

START, END, VOCAB, STATES, LENGTH, BATCH = 0, 1, 6, 7, 6, 4
TABLE = np.random.default_rng(5).normal(0, 2, (BATCH, STATES, VOCAB)).astype("float32")


def step(token_ids, position, state, memory):
    """Logits depend on image, on all tokens before, and on the last."""
    (hidden,), (images,) = state, memory
    # Beams of an image follow one another.
    beams = ops.shape(token_ids)[0] // ops.shape(images)[0]
    image = ops.repeat(images, beams, axis=0)
    hidden = (hidden * 3 + token_ids + 1) % STATES
    rows = ops.take(ops.reshape(TABLE, (-1, VOCAB)), image * STATES + hidden, axis=0)
    return rows, (hidden,)


def begin():
    state = (tf.zeros(BATCH, tf.int32),)
    memory = (tf.range(BATCH),)
    return state, memory, tf.fill([BATCH], START)


def search(rules=Rules(), max_tokens=LENGTH):  # noqa: B008
    return Search(step, END, max_tokens, rules)


def log_probs_after(image, written, rules=Rules()):  # noqa: B008
    """The slow way to a row of log-probabilities."""
    hidden = 0
    for token in [START, *written]:
        hidden = (hidden * 3 + token + 1) % STATES
    logits = TABLE[image, hidden].astype(np.float64)
    for token in set(written):
        factor = rules.repetition_penalty
        logits[token] *= 1 / factor if logits[token] > 0 else factor
    n = rules.no_repeat_ngram
    for i in range(len(written) - n + 1 if n else 0):
        if list(written[i : i + n - 1]) == list(written[len(written) - n + 1 :]):
            logits[written[i + n - 1]] = -1e9
    logits[list(rules.banned_ids)] = -1e9
    if len(written) < rules.min_tokens:
        logits[END] = -1e9
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def search_slowly(image, num_beams, length_penalty, rules):
    """Beam search with lists and sorting: `(score, tokens, ended)`, best first."""
    live, done = [(0.0, ())], []
    for position in range(LENGTH):
        options = [
            (total + log_prob, (*written, token))
            for total, written in live
            for token, log_prob in enumerate(log_probs_after(image, written, rules))
        ]
        options.sort(key=lambda option: -option[0])
        done += [
            (total / (position + 1) ** length_penalty, written, True)
            for total, written in options[:num_beams]
            if written[-1] == END and total > -1e8
        ]
        if len(done) >= num_beams:
            break
        live = [option for option in options if option[1][-1] != END][:num_beams]
    if len(done) < num_beams:
        done += [(t / LENGTH**length_penalty, w, False) for t, w in live]
    return sorted(done, key=lambda found: -found[0])[:num_beams]


RULES = [
    Rules(),
    Rules(banned_ids=(START, 2)),
    Rules(min_tokens=3),
    Rules(repetition_penalty=1.8),
    Rules(no_repeat_ngram=1, min_tokens=4),
    Rules(no_repeat_ngram=2, repetition_penalty=1.2),
]
MODES = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_three_beams_equal_a_slow_search(rules, length_penalty):
    ids, scores, ended = search(rules).beams(*begin(), 3, length_penalty)
    for image in range(BATCH):
        expected = search_slowly(image, 3, length_penalty, rules)
        for rank, (score, written, end) in enumerate(expected):
            padded = [*written, *[END] * (LENGTH - len(written))]
            np.testing.assert_array_equal(ids[image, rank], padded)
            assert float(scores[image, rank]) == pytest.approx(score, abs=1e-4)
            assert bool(ended[image, rank]) == end


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_one_beam_is_greedy(rules):
    ids, scores, ended = search(rules).greedy(*begin())
    beam_ids, beam_scores, beam_ended = search(rules).beams(*begin(), 1)
    np.testing.assert_array_equal(beam_ids[:, 0], ids)
    np.testing.assert_allclose(beam_scores[:, 0], scores, atol=1e-5)
    np.testing.assert_array_equal(beam_ended[:, 0], ended)


def write():
    rules = Rules(no_repeat_ngram=2, repetition_penalty=1.2, min_tokens=2)
    beams = search(rules).beams(*begin(), 3)
    return *search(rules).greedy(*begin()), *beams


@pytest.fixture(scope="module")
def written():
    return write()


@pytest.mark.parametrize("mode", MODES)
def test_same_tokens_in_every_mode(mode, written):
    for found, expected in zip(MODES[mode](write)(), written, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch():
    together, _, _ = search().beams(*begin(), 2)
    for image in range(BATCH):
        alone, _, _ = search().beams(
            (tf.zeros(1, tf.int32),),
            (tf.constant([image]),),
            tf.constant([START]),
            2,
        )
        np.testing.assert_array_equal(alone[0], together[image])


def test_a_beam_wider_than_the_vocabulary_returns_what_there_is():
    ids, scores, _ = search(max_tokens=1).beams(*begin(), 8)
    assert ids.shape == (BATCH, 8, 1)
    assert (np.array(scores)[:, : VOCAB - 1] > -1e8).all()
    assert (np.array(scores)[:, VOCAB:] <= -1e8).all()


def uniform(seed):
    return lambda position, shape: tf.random.stateless_uniform(shape, [seed, position])


def test_sampling_follows_the_probabilities():
    """The first token, drawn 4,000 times; five deviations of a binomial."""
    image, draws = 2, 4000
    ids, _, _ = search(max_tokens=1).sample(
        (tf.zeros(draws, tf.int32),),
        (tf.fill([draws], image),),
        tf.fill([draws], START),
        Sampling(uniform(0), temperature=2.0),
    )
    logits = log_probs_after(image, ()) / 2
    expected = np.exp(logits) / np.exp(logits).sum()
    found = np.bincount(np.array(ids)[:, 0], minlength=VOCAB) / draws
    deviation = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(found - expected) < 5 * deviation).all()


def test_cuts_of_sampling():
    probs = np.array([[0.5, 0.3, 0.15, 0.05]])
    log_probs = ops.log(ops.convert_to_tensor(probs, "float32"))
    for (top_k, top_p), kept in {
        (0, 1.0): 4,
        (2, 1.0): 2,
        (9, 1.0): 4,
        (0, 0.5): 1,
        (0, 0.51): 2,
        (0, 0.9): 3,
        (1, 0.9): 1,
    }.items():
        cut = np.array(sampling._cut(log_probs, top_k, top_p))
        assert (cut > -1e8).sum() == kept


def test_sampling_repeats_with_its_seed_and_one_token_is_greedy():
    ids = [search().sample(*begin(), Sampling(uniform(seed)))[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(ids[0], ids[1])
    assert (np.array(ids[0]) != np.array(ids[2])).any()
    sampled = search().sample(*begin(), Sampling(uniform(3), top_k=1))
    for ours, theirs in zip(sampled, search().greedy(*begin()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda: Rules(min_tokens=-1), "must not be negative. Received: min_tokens=-1"),
        (lambda: Rules(repetition_penalty=0.5), "must be at least 1. Received: .*0.5"),
        (lambda: search().beams(*begin(), 0), "`num_beams` must be positive"),
        (lambda: Sampling(uniform(0), top_p=0.0), "top_p=0.0"),
        (lambda: Sampling(uniform(0), temperature=0), "temperature=0"),
    ],
)
def test_bad_values(write, message):
    with pytest.raises(ValueError, match=message):
        write()


def test_exported_search_needs_no_xla(tmp_path):
    archive = keras.export.ExportArchive()
    module = tf.Module()
    archive.track(module)
    archive.add_endpoint(
        "serve",
        tf.function(
            lambda x: search(RULES[-1]).beams(*begin(), 3)[0] + x,
            input_signature=[tf.TensorSpec((), tf.int32)],
        ),
    )
    archive.write_out(str(tmp_path / "model"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    graph = loaded.signatures["serve"].graph.as_graph_def()
    names = {node.op for f in graph.library.function for node in f.node_def}
    names |= {node.op for node in graph.node}
    assert not any("Xla" in name for name in names)
    expected = search(RULES[-1]).beams(*begin(), 3)[0]
    np.testing.assert_array_equal(loaded.serve(tf.constant(0)), expected)


@pytest.mark.parametrize("n", [5, 600, 46664, 46663], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_top_k_equals_a_stable_sort(mode, n):
    """Few distinct numbers: among equal ones the first counts."""
    x = np.random.default_rng(n).integers(0, n // 3 + 2, (3, n)).astype("float32")
    find = MODES[mode](lambda x: largest.top_k(x, 4))
    values, indices = find(tf.constant(x))
    expected = np.argsort(-x, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, axis=1))
