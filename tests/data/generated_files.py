"""Image files as programs that make images write them, by their published formats."""

import io
import json

import PIL.Image
from PIL.PngImagePlugin import PngInfo

_EXIF_FOLDER, _USER_COMMENT, _MAKER_NOTE, _SOFTWARE = 0x8769, 0x9286, 0x927C, 0x0131
_MODEL, _MAKE = 0x0110, 0x010F

INFOTEXT = """a castle at dusk, (oil on canvas:1.2), <lora:ink:0.8>
by a lake
Negative prompt: blurry, low quality
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, \
Model hash: 45dee52b, Model: sd-v1-5, Version: v1.9.4"""

# The graph of ComfyUI's default workflow, as its API takes it.
GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"},
    },
    "5": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 512, "height": 512, "batch_size": 1},
    },
    "6": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "a galaxy in a bottle", "clip": ["4", 1]},
    },
    "7": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "text, watermark", "clip": ["4", 1]},
    },
    "8": {
        "class_type": "VAEDecode",
        "inputs": {"samples": ["3", 0], "vae": ["4", 2]},
    },
    "9": {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]},
    },
}

# The same as its editor keeps it: links apart, and widgets without names.
WORKFLOW = {
    "last_node_id": 9,
    "last_link_id": 9,
    "nodes": [
        {
            "id": 7,
            "type": "CLIPTextEncode",
            "mode": 0,
            "inputs": [{"name": "clip", "type": "CLIP", "link": 5}],
            "widgets_values": ["text, watermark"],
        },
        {
            "id": 6,
            "type": "CLIPTextEncode",
            "mode": 0,
            "inputs": [{"name": "clip", "type": "CLIP", "link": 3}],
            "widgets_values": ["a galaxy in a bottle"],
        },
        {
            "id": 5,
            "type": "EmptyLatentImage",
            "mode": 0,
            "outputs": [{"name": "LATENT", "type": "LATENT", "links": [2]}],
            "widgets_values": [512, 512, 1],
        },
        {
            "id": 3,
            "type": "KSampler",
            "mode": 0,
            "inputs": [
                {"name": "model", "type": "MODEL", "link": 1},
                {"name": "positive", "type": "CONDITIONING", "link": 4},
                {"name": "negative", "type": "CONDITIONING", "link": 6},
                {"name": "latent_image", "type": "LATENT", "link": 2},
            ],
            "widgets_values": [
                156680208700286,
                "randomize",
                20,
                8,
                "euler",
                "normal",
                1,
            ],
        },
        {
            "id": 8,
            "type": "VAEDecode",
            "mode": 0,
            "inputs": [
                {"name": "samples", "type": "LATENT", "link": 7},
                {"name": "vae", "type": "VAE", "link": 8},
            ],
        },
        {
            "id": 9,
            "type": "SaveImage",
            "mode": 0,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 9}],
            "widgets_values": ["ComfyUI"],
        },
        {
            "id": 4,
            "type": "CheckpointLoaderSimple",
            "mode": 0,
            "widgets_values": ["v1-5-pruned-emaonly.safetensors"],
        },
    ],
    "links": [
        [1, 4, 0, 3, 0, "MODEL"],
        [2, 5, 0, 3, 3, "LATENT"],
        [3, 4, 1, 6, 0, "CLIP"],
        [4, 6, 0, 3, 1, "CONDITIONING"],
        [5, 4, 1, 7, 0, "CLIP"],
        [6, 7, 0, 3, 2, "CONDITIONING"],
        [7, 3, 0, 8, 0, "LATENT"],
        [8, 4, 2, 8, 1, "VAE"],
        [9, 8, 0, 9, 0, "IMAGE"],
    ],
    "version": 0.4,
}

_FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8Rundiffusion",
    "base_model_hash": "aeb7e9e689",
    "full_negative_prompt": ["blurry", "worst quality"],
    "full_prompt": ["a castle at dusk, cinematic still", "a castle at dusk, ornate"],
    "guidance_scale": 4,
    "loras": [],
    "metadata_scheme": "fooocus",
    "negative_prompt": "blurry",
    "performance": "Speed",
    "prompt": "a castle at dusk",
    "resolution": "(1024, 1024)",
    "sampler": "dpmpp_2m_sde_gpu",
    "seed": "6364013623387452071",
    "steps": 30,
    "styles": "['Fooocus V2']",
    "version": "Fooocus v2.5.0",
}
_NOVELAI = {
    "prompt": "a castle at dusk, best quality",
    "steps": 28,
    "height": 1216,
    "width": 832,
    "scale": 5.0,
    "uncond_scale": 1.0,
    "seed": 2253955223,
    "n_samples": 1,
    "sampler": "k_euler_ancestral",
    "uc": "lowres, bad anatomy",
    "request_type": "PromptGenerateRequest",
}
_INVOKEAI = {
    "app_version": "3.4.0",
    "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a castle at dusk",
    "negative_prompt": "blurry",
    "width": 1024,
    "height": 1024,
    "seed": 1633894389,
    "rand_device": "cpu",
    "cfg_scale": 7.5,
    "steps": 25,
    "scheduler": "euler",
    "model": {"model_name": "stable-diffusion-xl", "base_model": "sdxl"},
}
_SD_METADATA = {
    "model": "stable diffusion",
    "model_weights": "stable-diffusion-1.5",
    "model_hash": "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516",
    "app_id": "invoke-ai/InvokeAI",
    "app_version": "v2.2.5",
    "image": {
        "type": "txt2img",
        "prompt": [{"prompt": "a castle at dusk [blurry]", "weight": 1}],
        "steps": 50,
        "cfg_scale": 7.5,
        "sampler": "k_lms",
        "seed": 3512490012,
        "width": 512,
        "height": 512,
    },
}


def png(texts=(), **options) -> bytes:
    """A PNG with texts, as Pillow writes them, by which all these programs save."""
    info = PngInfo()
    for name, text in dict(texts).items():
        info.add_text(name, text)
    return plain("PNG", pnginfo=info, **options)


def a1111_exif(text: str, encoding: str = "utf-16-be") -> PIL.Image.Exif:
    """EXIF as A1111 has it made by piexif, in big-endian UTF-16."""
    exif = PIL.Image.Exif()
    exif.get_ifd(_EXIF_FOLDER)[_USER_COMMENT] = b"UNICODE\0" + text.encode(encoding)
    return exif


def _fooocus_exif():
    exif = PIL.Image.Exif()
    exif[_USER_COMMENT] = json.dumps(_FOOOCUS)
    exif[_SOFTWARE] = "Fooocus v2.5.0"
    exif[_MAKER_NOTE] = "fooocus"
    return exif


def _comfyui_exif():
    """EXIF as ComfyUI's animated WebP has it, in a camera's fields."""
    exif = PIL.Image.Exif()
    exif[_MODEL] = f"prompt:{json.dumps(GRAPH)}"
    exif[_MAKE] = f"workflow:{json.dumps(WORKFLOW)}"
    return exif


def plain(kind: str, **options) -> bytes:
    """A file that says nothing; the pixels of all files here are equal."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (40, 32), (200, 120, 40)).save(buffer, kind, **options)
    return buffer.getvalue()


CASTLE = ("a castle at dusk", "blurry")
INFO = (INFOTEXT.split("\nNeg")[0], "blurry, low quality", 965400086, 20, "sd-v1-5")
GALAXY = ("a galaxy in a bottle", "text, watermark", 156680208700286, 20)
GALAXY += ("v1-5-pruned-emaonly.safetensors",)
_FOCUSED = (*CASTLE, 6364013623387452071, 30, "juggernautXL_v8Rundiffusion")
_NOVEL = ("a castle at dusk, best quality", "lowres, bad anatomy", 2253955223, 28)
_NOVEL += ("NovelAI Diffusion V3 7ABFFA2A",)
_NOVEL_TEXTS = {
    "Title": "AI generated image",
    "Description": _NOVEL[0],
    "Software": "NovelAI",
    "Source": _NOVEL[4],
    "Comment": json.dumps(_NOVELAI),
}
_DREAM = '"a castle at dusk [blurry]" -s 50 -S 3512490012 -W 512 -H 512 -C 7.5 -A k_lms'

# By program and format: a file, and what `Embedded` it gives.
FILES = {
    "a1111-png": (png({"parameters": INFOTEXT}), INFO),
    "a1111-jpeg": (plain("JPEG", exif=a1111_exif(INFOTEXT)), INFO),
    "a1111-webp": (plain("WEBP", exif=a1111_exif(INFOTEXT)), INFO),
    "comfyui-api": (png({"prompt": json.dumps(GRAPH)}), GALAXY),
    "comfyui-workflow": (png({"workflow": json.dumps(WORKFLOW)}), GALAXY),
    "comfyui-webp": (plain("WEBP", exif=_comfyui_exif()), GALAXY),
    "fooocus-png": (
        png({"parameters": json.dumps(_FOOOCUS), "fooocus_scheme": "fooocus"}),
        _FOCUSED,
    ),
    "fooocus-jpeg": (plain("JPEG", exif=_fooocus_exif()), _FOCUSED),
    "fooocus-webp": (plain("WEBP", exif=_fooocus_exif()), _FOCUSED),
    "fooocus-a1111": (
        png({"parameters": INFOTEXT, "fooocus_scheme": "a1111"}),
        INFO,
    ),
    "invokeai-3": (
        png({"invokeai_metadata": json.dumps(_INVOKEAI)}),
        (*CASTLE, 1633894389, 25, "stable-diffusion-xl"),
    ),
    "invokeai-2": (
        png({"sd-metadata": json.dumps(_SD_METADATA), "Dream": _DREAM}),
        (*CASTLE, 3512490012, 50, "stable-diffusion-1.5"),
    ),
    "invokeai-dream": (png({"Dream": _DREAM}), (*CASTLE, 3512490012, 50, None)),
    "novelai-png": (png(_NOVEL_TEXTS), _NOVEL),
    "novelai-webp": (
        plain("WEBP", exif=a1111_exif(json.dumps(_NOVEL_TEXTS))),
        _NOVEL,
    ),
    "swarmui-png": (
        png(
            {
                "parameters": json.dumps(
                    {
                        "sui_image_params": {
                            "prompt": CASTLE[0],
                            "negativeprompt": CASTLE[1],
                            "model": "sdxl",
                            "seed": 7,
                            "steps": 20,
                        }
                    }
                )
            }
        ),
        (*CASTLE, 7, 20, "sdxl"),
    ),
}
