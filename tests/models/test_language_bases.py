"""Pretrained bases out of reach: one line that says what to do."""

import keras_hub
import pytest

from tf_prompt.models import language_bases, presets


@pytest.mark.parametrize(
    "reason, hint",
    [
        (
            "403 Client Error.\nYou don't have permission to access it",
            "Its licence must be accepted first: "
            "https://www.kaggle.com/models/keras/paligemma2",
        ),
        (
            "File does not contain tensor vision_tower.vision_model.head.bias",
            "save it with transformers 4",
        ),
        ("Connection refused", ")"),
    ],
)
def test_what_is_out_of_reach_is_one_line_with_its_remedy(monkeypatch, reason, hint):
    family, _ = presets.PRESETS["paligemma2_3b"]

    def refuse(*args, **kwargs):
        raise OSError(reason)

    monkeypatch.setattr(keras_hub.models.PaliGemmaCausalLM, "from_preset", refuse)
    with pytest.raises(ValueError, match="within reach.*pali_gemma2") as error:
        language_bases.open_base("pali_gemma2_mix_3b_224", family)
    assert "\n" not in str(error.value)
    assert ("licence" in str(error.value)) == ("licence" in hint)
    assert str(error.value).endswith(hint)


def test_sources_are_presets_of_their_families():
    for name, source in language_bases.language_presets.SOURCES.items():
        family = presets.PRESETS[name][0]
        assert source in family.task_class().presets
        assert language_bases.find_source(name, None) == source
        assert language_bases.find_source(name, "random") is None
    assert language_bases.find_source("paligemma_tiny", None) is None
    assert language_bases.find_source("vit_regressor_base", "x") is None
