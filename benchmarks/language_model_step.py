"""What does a language model of real size need for one step and one prompt?

`python -m benchmarks.language_model_step qwen3_5_0_8b` builds the preset with random
weights in bfloat16, trains its matrices of low rank for one step, and writes one
prompt. It prints seconds and the peak memory of the process.
"""

import resource
import sys
import time

import keras
import numpy as np

from tf_prompt.data.text import END_ID, PAD_ID, START_ID
from tf_prompt.decoding.search import Search
from tf_prompt.models import presets
from tf_prompt.training.losses import WordLoss

NUM_TOKENS = 16


def main(preset: str) -> None:
    keras.config.set_dtype_policy("bfloat16")
    keras.utils.set_random_seed(0)
    model = measured("build", lambda: presets.build(preset, max_tokens=NUM_TOKENS))
    total, trained = model.count_parameters()
    print(f"parameters {total:,}, trained {trained:,}")
    model.compile(keras.optimizers.AdamW(1e-3), WordLoss(), jit_compile=False)
    rng = np.random.default_rng(0)
    side = model.image_size
    images = rng.integers(0, 256, (1, side, side, 3), "uint8")
    targets = rng.integers(4, model.vocab_size, (1, NUM_TOKENS)).astype("int32")
    token_ids = np.concatenate([[[START_ID]], targets[:, :-1]], axis=1)
    batch = {"images": images, "token_ids": token_ids, "target_ids": targets}
    weights = np.float32(targets != PAD_ID)
    for name in ("first step, traced", "step"):
        loss = measured(name, lambda: model.train_on_batch(batch, targets, weights))
        print(f"loss {float(loss):.3f}")
    search = Search(model.step, END_ID, NUM_TOKENS)

    def write():
        state, memory = model.encode(images)
        return search.greedy(state, memory, np.int32([START_ID]))[0]

    prompt = measured("prompt", write)
    print(f"token ids {np.asarray(prompt)[0].tolist()}")


def measured(name, run):
    """Runs it; prints its seconds and the process' peak memory up to now."""
    began = time.monotonic()
    result = run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: {time.monotonic() - began:.1f} s, peak {peak:.1f} GiB", flush=True)
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
