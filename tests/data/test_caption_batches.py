import collections

import numpy as np
import pytest

from tests.conftest import PLACES, SIZE
from tf_prompt.data import caption_batches, text
from tf_prompt.data import folder as data_folder
from tf_prompt.data.reading import Reading
from tf_prompt.data.text import END_ID, PAD_ID, START_ID
from tf_prompt.data.vocabulary import WordVocabulary

WORDS = collections.Counter({"a": 96, "patch": 96, "bright": 24, "white": 24})
WORDS.update({"red": 24, "green": 24, "blue": 24, **dict.fromkeys(PLACES, 32)})
VOCABULARY = WordVocabulary(text.build_vocabulary(WORDS, 100))


def training_batches(folder, **overrides):
    arguments = {
        "image_size": SIZE,
        "batch_size": 5,
        "seed": 3,
        "epochs": range(2),
        "shuffle_buffer": 100,
    }
    reading = Reading(folder=folder, **{**arguments, **overrides})
    return caption_batches.training_batches(reading, VOCABULARY, 30)


def targets_of(batches):
    return [targets.numpy().tolist() for _, targets, _ in batches]


def test_count_words(tiny_shards):
    assert data_folder.count_words(tiny_shards) == (WORDS, 96)


def test_batches_have_the_promised_form(tiny_shards):
    inputs, targets, _ = next(iter(training_batches(tiny_shards, batch_size=96)))
    assert inputs["images"].shape == (96, SIZE, SIZE, 3)
    assert inputs["images"].dtype == "uint8"
    assert inputs["token_ids"].shape == targets.shape == (96, 6)
    np.testing.assert_array_equal(inputs["token_ids"][:, 0], [START_ID] * 96)
    np.testing.assert_array_equal(inputs["token_ids"][:, 1:5], targets[:, :4])


def test_short_prompts_are_padded_to_the_longest_of_the_batch(tiny_shards):
    _, targets, _ = next(iter(training_batches(tiny_shards, batch_size=96)))
    lengths = (targets.numpy() != PAD_ID).sum(axis=1)
    assert sorted(lengths) == [5] * 72 + [6] * 24
    for row, length in zip(targets.numpy(), lengths, strict=True):
        assert row[length - 1] == END_ID
        assert (row[length:] == PAD_ID).all()


def test_every_epoch_has_the_same_number_of_full_batches(tiny_shards):
    assert len(targets_of(training_batches(tiny_shards))) == 2 * (96 // 5)


def test_epochs_differ_in_order(tiny_shards):
    batches = targets_of(training_batches(tiny_shards))
    assert batches[:19] != batches[19:]


def test_order_depends_on_seed_and_epoch_alone(tiny_shards):
    both = targets_of(training_batches(tiny_shards))
    second = targets_of(training_batches(tiny_shards, epochs=range(1, 2)))
    assert both[19:] == second
    assert targets_of(training_batches(tiny_shards, seed=4)) != both


def test_validation_covers_the_whole_split(tiny_shards):
    reading = Reading(folder=tiny_shards, image_size=SIZE, batch_size=5)
    batches = caption_batches.validation_batches(reading, VOCABULARY, 30)
    assert [len(targets) for _, targets, _ in batches] == [5, 5, 5, 5, 4]


@pytest.mark.parametrize("limit, sizes", [(None, [10, 10, 4]), (7, [7])])
def test_evaluation_keeps_order_and_text(tiny_shards, limit, sizes):
    batches = list(
        caption_batches.evaluation_batches(
            tiny_shards, "test", image_size=SIZE, batch_size=10, limit=limit
        )
    )
    assert [len(batch["image"]) for batch in batches] == sizes
    assert batches[0]["image_id"][0].numpy() == b"red-left-0.jpg"
    assert batches[0]["reference"][0].numpy() == b"a red patch left"


def test_absent_shards_say_how_to_write_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m pipelines.write_records"):
        data_folder.count_words(tmp_path)
