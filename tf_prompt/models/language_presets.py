"""The presets of vision-language captioners, and the sources of pretrained bases.

The large ones are as published. KerasHub states their numbers of parameters:
3,032,094,960, 4,299,915,632, 3,744,761,856 and 852,985,920. The `tiny` ones have the
same parts, and are trained from scratch.
"""

from tf_prompt.models.blip2 import BLIP2Captioner
from tf_prompt.models.gemma3 import Gemma3Captioner
from tf_prompt.models.pali_gemma import PaliGemmaCaptioner
from tf_prompt.models.qwen3_5 import Qwen35Captioner

_ADAPTED = {"lora_rank": 8, "train_vision": False}
_TINY = {"vocab_size": 512, "image_size": 96}
_SIGLIP = {
    "num_heads": 16,
    "hidden_dim": 1152,
    "num_layers": 27,
    "intermediate_dim": 4304,
}
# What the vision encoder has in all sizes of BLIP-2.
BLIP2_VISION = {
    "use_patch_bias": True,
    "use_class_token": True,
    "use_mha_bias": True,
    "use_mlp_bias": True,
    "dropout_rate": 0.0,
    "layer_norm_epsilon": 1e-6,
    "initializer_range": 0.02,
}
_TINY_GEMMA = {
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 1,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "head_dim": 32,
}

PRESETS = {
    "paligemma2_3b": (
        PaliGemmaCaptioner,
        {
            **_ADAPTED,
            "vocab_size": 257153,
            "image_size": 224,
            "base": {
                "arguments": {
                    "num_layers": 26,
                    "num_query_heads": 8,
                    "num_key_value_heads": 4,
                    "hidden_dim": 2304,
                    # Of both halves of the gated layer.
                    "intermediate_dim": 18432,
                    "head_dim": 256,
                    "vit_patch_size": 14,
                    **{f"vit_{name}": value for name, value in _SIGLIP.items()},
                    "use_post_ffw_norm": True,
                    "use_post_attention_norm": True,
                    "attention_logit_soft_cap": 50.0,
                    "final_logit_soft_cap": 30.0,
                    "use_sliding_window_attention": True,
                }
            },
        },
    ),
    "paligemma_tiny": (
        PaliGemmaCaptioner,
        {
            **_TINY,
            "base": {
                "arguments": {
                    **_TINY_GEMMA,
                    "vit_patch_size": 12,
                    "vit_num_heads": 4,
                    "vit_hidden_dim": 128,
                    "vit_num_layers": 2,
                    "vit_intermediate_dim": 256,
                }
            },
        },
    ),
    "gemma3_4b": (
        Gemma3Captioner,
        {
            **_ADAPTED,
            "vocab_size": 262145,
            "image_size": 896,
            "base": {
                "arguments": {
                    "num_layers": 34,
                    "num_query_heads": 8,
                    "num_key_value_heads": 4,
                    "hidden_dim": 2560,
                    "intermediate_dim": 10240,
                    "head_dim": 256,
                    "use_post_ffw_norm": True,
                    "use_post_attention_norm": True,
                    "use_sliding_window_attention": True,
                    "sliding_window_size": 1024,
                    "global_rope_scaling_factor": 8.0,
                    "vision": {**_SIGLIP, "patch_size": 14, "pool_size": 4},
                }
            },
        },
    ),
    "gemma3_tiny": (
        Gemma3Captioner,
        {
            **_TINY,
            "base": {
                "arguments": {
                    **_TINY_GEMMA,
                    "use_post_ffw_norm": True,
                    "use_post_attention_norm": True,
                    "vision": {
                        "num_heads": 4,
                        "hidden_dim": 128,
                        "num_layers": 2,
                        "intermediate_dim": 256,
                        "patch_size": 12,
                        "pool_size": 2,
                    },
                }
            },
        },
    ),
    "blip2_opt_2_7b": (
        BLIP2Captioner,
        {
            **_ADAPTED,
            "vocab_size": 50305,
            "image_size": 224,
            "base": {
                "arguments": {
                    "vision": {
                        "patch_size": 14,
                        "num_layers": 39,
                        "num_heads": 16,
                        "hidden_dim": 1408,
                        "intermediate_dim": 6144,
                        **BLIP2_VISION,
                    },
                    "queries": {
                        "num_query_tokens": 32,
                        "num_layers": 12,
                        "num_heads": 12,
                        "hidden_dim": 768,
                        "intermediate_dim": 3072,
                        "cross_attention_frequency": 2,
                        "dropout": 0.1,
                        "layer_norm_epsilon": 1e-12,
                    },
                    "text": {
                        "num_layers": 32,
                        "num_heads": 32,
                        "hidden_dim": 2560,
                        "intermediate_dim": 10240,
                        "dropout": 0.1,
                        "max_sequence_length": 2048,
                    },
                }
            },
        },
    ),
    "blip2_tiny": (
        BLIP2Captioner,
        {
            **_TINY,
            "base": {
                "arguments": {
                    "vision": {
                        "patch_size": 12,
                        "num_layers": 2,
                        "num_heads": 4,
                        "hidden_dim": 128,
                        "intermediate_dim": 256,
                        **BLIP2_VISION,
                    },
                    "queries": {
                        "num_query_tokens": 16,
                        "num_layers": 2,
                        "num_heads": 4,
                        "hidden_dim": 128,
                        "intermediate_dim": 256,
                        "cross_attention_frequency": 2,
                        "dropout": 0.0,
                        "layer_norm_epsilon": 1e-12,
                    },
                    "text": {
                        "num_layers": 2,
                        "num_heads": 4,
                        "hidden_dim": 128,
                        "intermediate_dim": 512,
                        "dropout": 0.0,
                        "max_sequence_length": 256,
                    },
                }
            },
        },
    ),
    "qwen3_5_0_8b": (
        Qwen35Captioner,
        {
            **_ADAPTED,
            # 248,320 tokens in the base, three of which count as special.
            "vocab_size": 248321,
            "image_size": 384,
            "base": {
                "arguments": {
                    "num_layers": 24,
                    "num_query_heads": 8,
                    "num_key_value_heads": 2,
                    "head_dim": 256,
                    "hidden_dim": 1024,
                    "intermediate_dim": 3584,
                    "rope_max_wavelength": 10_000_000,
                    "tie_word_embeddings": True,
                    "linear_num_key_heads": 16,
                    "linear_num_value_heads": 16,
                    "mrope_section": [11, 11, 10],
                    "vision": {
                        "depth": 12,
                        "hidden_size": 768,
                        "num_heads": 12,
                        "intermediate_size": 3072,
                        "patch_size": 16,
                        "spatial_merge_size": 2,
                    },
                }
            },
        },
    ),
    "qwen3_5_tiny": (
        Qwen35Captioner,
        {
            **_TINY,
            "base": {
                "arguments": {
                    "num_layers": 2,
                    "layer_types": ["linear_attention", "full_attention"],
                    "num_query_heads": 4,
                    "num_key_value_heads": 1,
                    "head_dim": 32,
                    "hidden_dim": 128,
                    "intermediate_dim": 512,
                    "partial_rotary_factor": 0.5,
                    "tie_word_embeddings": True,
                    "linear_num_key_heads": 4,
                    "linear_num_value_heads": 4,
                    "linear_key_head_dim": 32,
                    "linear_value_head_dim": 32,
                    "mrope_section": [3, 3, 2],
                    "vision": {
                        "depth": 2,
                        "hidden_size": 128,
                        "num_heads": 4,
                        "intermediate_size": 256,
                        "patch_size": 12,
                        "spatial_merge_size": 2,
                        "num_position_embeddings": 64,
                    },
                }
            },
        },
    ),
}

# KerasHub's preset of the pretrained base; other models are trained from scratch.
SOURCES = {
    "paligemma2_3b": "pali_gemma2_mix_3b_224",
    "gemma3_4b": "gemma3_instruct_4b",
    "blip2_opt_2_7b": "blip2_opt_2.7b",
    "qwen3_5_0_8b": "qwen3_5_0.8b",
}
