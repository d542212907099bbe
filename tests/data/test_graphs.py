"""Pipelines of tf.data run without its tuning thread."""

import tensorflow as tf

from tf_prompt.data import caption_batches, folder, records, targets, text
from tf_prompt.data.embedding_batches import Examples
from tf_prompt.data.reading import Reading
from tf_prompt.data.vocabulary import WordVocabulary


def test_no_pipeline_is_tuned(tiny_shards, monkeypatch):
    seen, begin = [], tf.data.Dataset.__iter__

    def noting(dataset):
        seen.append(dataset.options())
        return begin(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", noting)
    words = WordVocabulary([*text.SPECIAL_TOKENS, "patch"])
    examples = Examples(tiny_shards, "test", with_targets=False)
    reading = Reading(folder=tiny_shards, image_size=32, batch_size=8)
    size = {"image_size": 32, "batch_size": 8}
    reads = [
        lambda: folder.count_words(tiny_shards),
        lambda: targets.read_prompts(records.list_shards(tiny_shards, "test")[0]),
        lambda: records.number_families(tiny_shards, "test"),
        lambda: records.list_labels(tiny_shards, "test"),
        lambda: next(examples.batches(8, "reading")),
        lambda: next(examples.pixels([32], 8, "reading")),
        lambda: caption_batches.read_index(tiny_shards, words, 5),
        lambda: next(iter(caption_batches.training_batches(reading, words, 5))),
        lambda: next(iter(caption_batches.validation_batches(reading, words, 5))),
        lambda: next(
            iter(caption_batches.evaluation_batches(tiny_shards, "test", **size))
        ),
    ]
    for read in reads:
        before = len(seen)
        read()
        assert len(seen) > before
    assert all(options.autotune.enabled is False for options in seen)
    assert not any(
        options.experimental_optimization.apply_default_optimizations
        for options in seen
    )


def test_pixels_are_those_of_evaluation(tiny_shards):
    """Features are of the pixels that the model sees elsewhere."""
    examples = Examples(tiny_shards, "test", with_targets=False)
    whole = caption_batches.evaluation_batches(
        tiny_shards, "test", image_size=32, batch_size=10
    )
    pairs = zip(examples.pixels([32, 16], 10, "reading"), whole, strict=True)
    for found, batch in pairs:
        assert found[16].shape[1:] == (16, 16, 3)
        tf.debugging.assert_equal(found[32], batch["image"])
