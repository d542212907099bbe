"""What a preset makes of options that were given, and of those that were not."""

import pytest

from tests.conftest import copy_shards
from tf_prompt.runs.config import FitConfig
from tf_prompt.training import recipes


@pytest.mark.parametrize(
    "setting, flag", [("vocab_size=99", "vocab-size"), ("max_tokens=9", "max-words")]
)
def test_a_setting_that_has_a_flag_of_its_own_names_it(setting, flag):
    config = FitConfig(preset="lstm_tiny", set=(setting,))
    value = setting.partition("=")[2]
    with pytest.raises(ValueError, match=f"set must leave .*--{flag}.*{value}$"):
        recipes.complete(config)


def test_an_option_that_means_nothing_to_the_preset_is_refused():
    with pytest.raises(ValueError, match="members must be left out with preset lstm"):
        recipes.complete(FitConfig(preset="lstm_tiny", members=("runs/a",)))


def test_few_examples_get_smaller_batches(tiny_shards, tmp_path):
    config = FitConfig(preset="transformer_tiny")
    assert recipes.complete(config, tiny_shards).batch_size == 64
    few = copy_shards(tiny_shards, tmp_path / "few", "train-0000[0-2]*")
    # 36 examples: four steps an epoch.
    assert recipes.complete(config, few).batch_size == 9
    parts = FitConfig(preset="transformer_tiny", accumulate_steps=4)
    assert recipes.complete(parts, few).batch_size == 8
    # Without epochs a batch is only what is read at once.
    retrieval = FitConfig(preset="retrieval_tiny")
    assert recipes.complete(retrieval, few).batch_size == 64
    given = FitConfig(preset="transformer_tiny", batch_size=64)
    assert recipes.complete(given, few).batch_size == 64
