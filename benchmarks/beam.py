"""Three beams against Hugging Face, and against a loop over images in PyTorch.

All sides begin from the same 49 regions of 2,048 numbers and write 39 tokens from
46,664 with the same random weights. No XLA: ours is as an exported model has it.
"""

import functools
import sys

import numpy as np

from benchmarks import decode, measure, threads
from benchmarks.hugging_face import HuggingFaceDecoder
from benchmarks.torch_beam import ImageByImage

threads.pin()
import tensorflow as tf  # noqa: E402

from tf_prompt.data.text import START_ID  # noqa: E402

NUM_BEAMS = 3
TRANSFORMER_TARGET = {16: 2.5}
LSTM_TARGETS = {1: 4, 16: 15}
# Of a mean log-probability, here about -10.7.
TIE = 2e-4


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("beam", __doc__, argv)
    repeats = 2 if quick else 9
    results = []
    captioner = decode.build_captioner("transformer_base")
    begin = functools.partial(decode.begin_prompts, captioner)
    rival = HuggingFaceDecoder(captioner)
    generate = functools.partial(rival.generate, num_beams=NUM_BEAMS)
    for batch, target in TRANSFORMER_TARGET.items():
        name = f"beam_transformer_{batch}"
        results.append(compare(name, begin, generate, batch, target, repeats))
    captioner = decode.build_captioner("lstm_base")
    begin = functools.partial(begin_lstm, captioner)
    rival = ImageByImage(captioner)
    search = functools.partial(rival.write, num_beams=NUM_BEAMS)
    for batch, target in LSTM_TARGETS.items():
        name = f"beam_lstm_{batch}"
        # Its rate does not depend on how many images there are.
        few = min(batch, 2) if quick else batch
        results.append(compare(name, begin, search, batch, target, repeats, few))
    return measure.report(*results)


def build_search(begin):
    """Our search as a compiled function: regions to the best prompt's token ids."""

    def write(regions):
        search, state, memory, start_ids = begin(regions)
        return search.beams(state, memory, start_ids, NUM_BEAMS)[0][:, 0]

    signature = [tf.TensorSpec((None, *decode.REGIONS), tf.float32)]
    return tf.function(write, input_signature=signature)


def begin_lstm(captioner, regions):
    """A search and its arguments, from the regions of images."""
    state, memory = captioner._first_state(regions)
    start_ids = tf.fill([tf.shape(regions)[0]], START_ID)
    return decode.build_search(captioner), state, memory, start_ids


def compare(name, begin, rival, batch, target, repeats, rival_batch=None) -> dict:
    """Both searches on the same regions, the rival's perhaps on the first of them."""
    regions, write = decode.draw_regions(batch), build_search(begin)

    def ours():
        return write(tf.constant(regions)).numpy()

    few = rival_batch or batch
    theirs = functools.partial(rival, regions[:few], decode.NUM_TOKENS)
    found, expected = ours()[:few], np.asarray(theirs())
    scores = [mean_log_probs(begin, regions[:few], ids) for ids in (found, expected)]
    return measure.compare(
        name,
        ours,
        theirs,
        repeats,
        batch,
        target,
        np.allclose(*scores, rtol=0, atol=TIE),
        decode.PACKAGES,
        few,
        same_prompts=f"{(found == expected).all(axis=1).sum()} of {few}",
    )


def mean_log_probs(begin, regions, token_ids) -> np.ndarray:
    """How likely the model finds given prompts, float `(batch,)`."""
    search, state, memory, last = begin(tf.constant(regions))
    total = 0.0
    for position, ids in enumerate(token_ids.T):
        logits, state = search.step(last, tf.constant(position), state, memory)
        last = tf.constant(ids, tf.int32)
        total += tf.gather(tf.nn.log_softmax(logits), last, batch_dims=1)
    return total.numpy() / len(token_ids.T)


if __name__ == "__main__":
    sys.exit(main())
