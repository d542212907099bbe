"""Small bases of each family of language models that see, whole and pretrained."""

import io

import keras
import keras_hub
import sentencepiece

from tf_prompt.models.language_presets import BLIP2_VISION

SIZE = 16
GEMMA = {
    "num_layers": 1,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "hidden_dim": 32,
    "intermediate_dim": 64,
    "head_dim": 16,
}
ARGUMENTS = {
    "paligemma_tiny": {
        **GEMMA,
        "vit_patch_size": 8,
        "vit_num_heads": 2,
        "vit_hidden_dim": 32,
        "vit_num_layers": 1,
        "vit_intermediate_dim": 64,
    },
    "gemma3_tiny": {
        **GEMMA,
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "vision": {
            "num_heads": 2,
            "hidden_dim": 32,
            "num_layers": 1,
            "intermediate_dim": 64,
            "patch_size": 4,
            "pool_size": 2,
        },
    },
    "blip2_tiny": {
        "vision": {
            "patch_size": 8,
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 32,
            "intermediate_dim": 64,
            **BLIP2_VISION,
        },
        "queries": {
            "num_query_tokens": 4,
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 32,
            "intermediate_dim": 64,
            "cross_attention_frequency": 1,
            "dropout": 0.0,
            "layer_norm_epsilon": 1e-12,
        },
        "text": {
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 32,
            "intermediate_dim": 64,
            "dropout": 0.0,
            "max_sequence_length": 64,
        },
    },
    "qwen3_5_tiny": {
        "num_layers": 2,
        "layer_types": ["linear_attention", "full_attention"],
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "hidden_dim": 32,
        "intermediate_dim": 64,
        "partial_rotary_factor": 0.5,
        "tie_word_embeddings": True,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "mrope_section": [2, 1, 1],
        "vision": {
            "depth": 1,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "num_position_embeddings": 16,
        },
    },
}
NAMES = list(ARGUMENTS)
TEXTS = [
    "A red patch, left!",
    "A green patch, top!",
    "A blue patch, middle!",
    "A bright white patch, top!",
    "caption en\n",
]


def overrides(name) -> dict:
    """Arguments of a preset that make it small."""
    return {"image_size": SIZE, "base": {"arguments": ARGUMENTS[name]}}


def train_pieces(special=()) -> bytes:
    """A SentencePiece model like Gemma's: special tokens first, bytes for the rest."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=file,
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
        user_defined_symbols=list(special),
        **{"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
        **{"pad_piece": "<pad>", "bos_piece": "<bos>", "eos_piece": "<eos>"},
    )
    return file.getvalue()


def write_gemma3(folder) -> str:
    """Writes a small Gemma 3 as a preset of KerasHub; gives the folder."""
    keras.utils.set_random_seed(0)
    arguments = dict(ARGUMENTS["gemma3_tiny"])
    names = ["<img>", "<start_of_image>", "<end_of_image>"]
    names += ["<start_of_turn>", "<end_of_turn>"]
    tokenizer = keras_hub.models.Gemma3Tokenizer(proto=train_pieces(names))
    vision = keras_hub.models.Gemma3VisionEncoder(
        **arguments.pop("vision"), image_size=SIZE, output_dim=32
    )
    backbone = keras_hub.models.Gemma3Backbone(
        **arguments,
        vocabulary_size=tokenizer.vocabulary_size(),
        image_size=SIZE,
        vision_encoder=vision,
    )
    preprocessor = keras_hub.models.Gemma3CausalLMPreprocessor(
        tokenizer,
        keras_hub.layers.Gemma3ImageConverter(
            image_size=(SIZE, SIZE), scale=1 / 127.5, offset=-1
        ),
        max_images_per_prompt=1,
        num_vision_tokens_per_image=vision.num_vision_tokens_per_image,
    )
    keras_hub.models.Gemma3CausalLM(preprocessor, backbone).save_to_preset(str(folder))
    return str(folder)


def write_paligemma(folder, seed=0) -> str:
    """Writes a small PaliGemma as a preset of KerasHub; gives the folder."""
    keras.utils.set_random_seed(seed)
    tokenizer = keras_hub.models.PaliGemmaTokenizer(proto=train_pieces())
    backbone = keras_hub.models.PaliGemmaBackbone(
        **ARGUMENTS["paligemma_tiny"],
        vocabulary_size=tokenizer.vocabulary_size(),
        image_size=SIZE,
    )
    preprocessor = keras_hub.models.PaliGemmaCausalLMPreprocessor(
        tokenizer,
        keras_hub.layers.PaliGemmaImageConverter(
            image_size=(SIZE, SIZE), scale=1 / 127.5, offset=-1
        ),
    )
    task = keras_hub.models.PaliGemmaCausalLM(preprocessor, backbone)
    task.save_to_preset(str(folder))
    return str(folder)
