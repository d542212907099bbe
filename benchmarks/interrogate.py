"""Interrogation against the same search image by image, and against images alone.

Both sides have a CLIP of ViT-L/14's size with the same random weights and 1,500 of
the phrases that ship, embedded beforehand. `best` is compared with transformers'
CLIPModel in PyTorch, which tries texts padded to 77 tokens for one image at a time;
`fast` and `classic`, from image files on, with the image tower alone.
"""

import collections
import functools
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks import folder, measure, threads

threads.pin()
from benchmarks.torch_interrogator import ImageByImage, build_clip  # noqa: E402
from tf_prompt.inference import image_batches  # noqa: E402
from tf_prompt.interrogation import clip_tokens, table_sources  # noqa: E402
from tf_prompt.interrogation.config import InterrogationConfig  # noqa: E402
from tf_prompt.interrogation.interrogator import Interrogator  # noqa: E402
from tf_prompt.models.interrogator import CLIPInterrogator  # noqa: E402

TARGETS = {16: 3, 1: 1}
ALONE_TARGET = 0.85
PHRASES_A_TABLE = 300
# Of byte pairs: with so many a phrase has about as many tokens as in CLIP's own
# vocabulary, 5.7 with start and end.
VOCAB_SIZE = 8192
# The rival's rate does not depend on how many images there are.
RIVAL_IMAGES = 2
PACKAGES = ("tensorflow", "keras", "keras-hub", "torch", "transformers")


class CountedTokens(clip_tokens.CLIPTokens):
    """Counts the tokens, padding included, that go through a tower."""

    num_read = 0

    def pad(self, rows):
        """See `CLIPTokens`."""
        batch = super().pad(rows)
        self.num_read += batch.size
        return batch


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("interrogate", __doc__, argv)
    repeats = 2 if quick else 5
    with tempfile.TemporaryDirectory() as scratch:
        make, rival_parts = build_both(pathlib.Path(scratch), not quick)
        paths = folder.write_pictures(pathlib.Path(scratch), max(TARGETS))
        results = [
            compare_search(make, rival_parts, paths[:batch], target, repeats)
            for batch, target in TARGETS.items()
        ]
        results += [
            compare_files(make(mode), paths, repeats) for mode in ("fast", "classic")
        ]
    return measure.report(*results)


def build_both(scratch, is_large: bool):
    """A function from a mode to our interrogator, and what the rival is made of."""
    tables = {
        name: phrases[:: max(1, len(phrases) // PHRASES_A_TABLE)][:PHRASES_A_TABLE]
        for name, phrases in table_sources.read_shipped(None, "best").items()
    }
    words = (w for phrases in tables.values() for p in phrases for w in p.split())
    tokenizer = clip_tokens.build_tokenizer(collections.Counter(words), VOCAB_SIZE)
    clip = build_clip(tokenizer.vocabulary_size(), tokenizer.end_token_id, is_large)
    clip.save_pretrained(scratch / "clip")
    model = CLIPInterrogator(str(scratch / "clip"))
    tokens = CountedTokens(tokenizer, model.max_tokens)

    def make(mode):
        options = InterrogationConfig(mode=mode)
        return Interrogator(model, tokens, tables, scratch / "phrases", options)

    return make, functools.partial(ImageByImage, clip, tokens)


def compare_search(make, rival_parts, paths, target, repeats) -> dict:
    """Mode `best` on both sides: prompts and ranked phrases must be equal."""
    interrogator = make("best")
    vectors = {n: (t.phrases, t.vectors) for n, t in interrogator.tables.items()}
    rival = rival_parts(vectors, interrogator.options)
    pictures = np.stack([interrogator.decode(p.read_bytes()) for p in paths])
    few = pictures[:RIVAL_IMAGES]
    interrogator.tokens.num_read = 0
    found, expected = interrogator(pictures), rival(few)
    parity = [
        result.prompt == prompt
        and all(
            [phrase for phrase, _ in result.phrases[name]]
            == phrases[: interrogator.options.top]
            for name, phrases in ranked.items()
        )
        for result, (prompt, ranked) in zip(found, expected, strict=False)
    ]
    num_phrases = [result.prompt.count(",") + 1 for result in found]
    return measure.compare(
        f"interrogate_best_{len(paths)}",
        lambda: interrogator(pictures),
        lambda: rival(few),
        repeats,
        len(pictures),
        target,
        all(parity),
        PACKAGES,
        len(few),
        phrases_a_prompt=round(float(np.mean(num_phrases)), 1),
        tokens_an_image=round(interrogator.tokens.num_read / len(pictures)),
        rival_tokens_an_image=round(rival.num_read / len(few)),
    )


def compare_files(interrogator, paths, repeats) -> dict:
    """A mode from files to results, and the image tower on the same pictures."""
    mode, batch = interrogator.options.mode, len(paths)
    look = interrogator.model.image_network.predict_on_batch
    pictures = np.stack([interrogator.decode(p.read_bytes()) for p in paths])

    def interrogate():
        return list(image_batches.interrogate_files(interrogator, paths, batch))

    alone = [interrogator(picture[None])[0].prompt for picture in pictures[:4]]
    found = [row["prompt"] for row in interrogate()]
    return measure.compare(
        f"interrogate_{mode}",
        interrogate,
        lambda: look(pictures),
        repeats,
        batch,
        ALONE_TARGET,
        found[: len(alone)] == alone,
        PACKAGES,
    )


if __name__ == "__main__":
    sys.exit(main())
