"""LiteRT files: a token against Hugging Face, start-up, and what int8 costs in BLEU.

A token is timed as in `decode`: the same decoder of 2 blocks, 512 wide, the same 49
regions, 39 tokens of 46,664, one image. Start-up is from the shell to the prompt of one
picture. BLEU is of the toy set's test split, with the run of `fit` without flags, or of
`--run-dir`.
"""

import argparse
import functools
import pathlib
import statistics
import sys
import tempfile

import numpy as np

from benchmarks import measure, threads

threads.pin()
import tensorflow as tf  # noqa: E402

from benchmarks import decode, startup  # noqa: E402
from benchmarks.hugging_face import HuggingFaceDecoder  # noqa: E402
from tf_prompt import fit  # noqa: E402
from tf_prompt.data import images, records  # noqa: E402
from tf_prompt.data.text import SPECIAL_TOKENS  # noqa: E402
from tf_prompt.data.toy import shards  # noqa: E402
from tf_prompt.data.vocabulary import WordVocabulary  # noqa: E402
from tf_prompt.inference.captioner import CaptionerModel  # noqa: E402
from tf_prompt.inference.loading import Loader  # noqa: E402
from tf_prompt.metrics.bleu import corpus_bleu  # noqa: E402
from tf_prompt.serving.litert import PRECISIONS, conversion, writer  # noqa: E402

# Hugging Face's time over ours, at each precision.
TARGETS = {"float32": 1.3, "int8": 3}
START_SECONDS, BLEU_POINTS = 1.5, 1
PACKAGES = ("ai-edge-litert", "tensorflow", "torch", "transformers")


def main(argv=None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser("benchmarks.litert", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs, no BLEU")
    parser.add_argument("--run-dir", help="a run of the toy set; trained if not given")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        results = compare_tokens(folder, 2 if options.quick else 9)
        if not options.quick:
            run_dir = options.run_dir
            if run_dir is None:
                run_dir = folder / "run"
                fit.main(["--run-dir", str(run_dir)])
            results += compare_trained(folder, run_dir)
        return measure.report(*results)


def compare_tokens(folder: pathlib.Path, repeats: int) -> list[dict]:
    """The same prompt by Hugging Face's `generate` and by our files."""
    captioner = decode.build_captioner()
    rival = HuggingFaceDecoder(captioner)
    words = [f"w{i}" for i in range(captioner.vocab_size - len(SPECIAL_TOKENS))]
    vocabulary = WordVocabulary([*SPECIAL_TOKENS, *words])
    steps = CaptionerModel(captioner, vocabulary).steps()
    regions = decode.draw_regions(1)
    expected = rival.generate(regions, decode.NUM_TOKENS)[0]
    _, state, memory, _ = decode.begin_prompts(captioner, tf.constant(regions))
    parts = conversion.name_parts("state", state)
    parts |= conversion.name_parts("memory", memory)
    parts = {name: value.numpy() for name, value in parts.items()}
    results = []
    for precision, target in TARGETS.items():
        path = folder / f"base-{precision}.tflite"
        conversion.export(steps, "base", precision, path)
        ours = writer.LiteRTWriter(path, threads.THREADS)
        written = np.array(ours.decode(parts)[0])
        equal = float(np.mean(written == expected[: len(written)]))
        results.append(
            measure.compare(
                f"litert_token_{precision}",
                functools.partial(ours.decode, parts),
                functools.partial(rival.generate, regions, decode.NUM_TOKENS),
                repeats,
                decode.NUM_TOKENS,
                target,
                # Weights of eight bits choose other words where two are near.
                precision != "float32" or equal == 1,
                PACKAGES,
                equal_tokens=round(equal, 3),
                megabytes=round(path.stat().st_size / 1e6, 1),
            )
        )
    return results


def compare_trained(folder: pathlib.Path, run_dir) -> list[dict]:
    """Start-up and BLEU of a trained run."""
    loader = Loader()
    steps = loader.load_run(loader.open_run(run_dir), embeds=False).steps()
    examples = list(read_examples())
    scores, paths = {}, {}
    for precision in PRECISIONS:
        paths[precision] = folder / f"toy-{precision}.tflite"
        conversion.export(steps, "toy", precision, paths[precision])
        written = writer.LiteRTWriter(paths[precision])([data for data, _ in examples])
        prompts = [prompt.decode() for prompt in written["prompt"]]
        scores[precision] = float(corpus_bleu([r for _, r in examples], prompts))
    full = scores["float32"]
    bleu = measure.result(
        "litert_bleu_int8",
        [scores["int8"] / full],
        (full - BLEU_POINTS) / full,
        True,
        PACKAGES,
        **{f"bleu_{name}": round(score, 2) for name, score in scores.items()},
        megabytes={n: round(p.stat().st_size / 1e6, 2) for n, p in paths.items()},
    )
    return [time_startup(folder, paths["float32"]), bleu]


def read_examples():
    """Pairs of an encoded image and its words, of the toy set's test split."""
    for shard in records.list_shards(shards.toy_folder(), "test"):
        for serialised in tf.data.TFRecordDataset(shard):
            found = records.parse(serialised)
            words = b" ".join(found["words"].numpy()).decode()
            yield found["image"].numpy(), words


def time_startup(folder: pathlib.Path, model: pathlib.Path) -> dict:
    """Seconds from the shell to the prompt of one picture."""
    picture = folder / "picture.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    picture.write_bytes(images.encode_jpeg(noise))
    command = ["-m", "tf_prompt.predict", "--litert", model, picture]
    printed = startup.run(command)
    took = [measure.time_of(lambda: startup.run(command)) for _ in range(7)]
    return measure.result(
        "litert_startup",
        [START_SECONDS / seconds for seconds in took],
        1,
        printed.startswith(str(picture)),
        PACKAGES,
        seconds=round(statistics.median(took), 2),
    )


if __name__ == "__main__":
    sys.exit(main())
