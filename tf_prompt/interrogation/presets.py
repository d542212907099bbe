"""Pretrained models for interrogation: their properties and folders."""

import dataclasses
import os
import pathlib

# ViT-L/14 is the text encoder of Stable Diffusion 1, so other prompt tools use it by
# default; nothing was measured here.
DEFAULT = "clip_vit_large_patch14"
# Bytes per weight in float32; 2 in half precision, as on GPUs.
_BYTES = 4
# Besides the weights: Python, TensorFlow, and activations of 16 images and 256
# phrases. Measured with ViT-L/14.
_RUNNING_BYTES = 1.5e9


@dataclasses.dataclass(frozen=True)
class Preset:
    """A KerasHub preset with two towers.

    Args:
        name: name in KerasHub.
        num_parameters: parameters of both towers.
        image_size: side of the images, pixels.
        width: width of the embeddings.
    """

    name: str
    num_parameters: int
    image_size: int
    width: int

    @property
    def download_bytes(self) -> int:
        """Size of the weights as KerasHub publishes them, in float32."""
        return _BYTES * self.num_parameters

    @property
    def memory_bytes(self) -> float:
        """Memory of a process that interrogates in float32."""
        return self.download_bytes + _RUNNING_BYTES


# As KerasHub 0.32 lists them; a test compares. Widths are not in its list.
PRESETS = tuple(
    Preset(*row)
    for row in (
        ("clip_vit_base_patch16", 149620934, 224, 512),
        ("clip_vit_base_patch32", 151277363, 224, 512),
        ("clip_vit_large_patch14", 427616770, 224, 768),
        ("clip_vit_large_patch14_336", 427944770, 336, 768),
        ("clip_vit_b_32_laion2b_s34b_b79k", 151277363, 224, 512),
        ("clip_vit_h_14_laion2b_s32b_b79k", 986109698, 224, 1024),
        ("clip_vit_g_14_laion2b_s12b_b42k", 1366678530, 224, 1024),
        ("clip_vit_bigg_14_laion2b_39b_b160k", 2539567362, 224, 1280),
        ("metaclip_2_vit_huge_patch14_224", 1858783745, 224, 1024),
        ("metaclip_2_vit_huge_patch14_378", 1859389185, 378, 1024),
        ("metaclip_2_vit_giant_patch14_224", 3630409985, 224, 1280),
        ("metaclip_2_vit_giant_patch14_378", 3631197057, 378, 1280),
        ("siglip_base_patch16_224", 203156230, 224, 768),
        ("siglip_base_patch16_256", 203202370, 256, 768),
        ("siglip_base_patch16_384", 203448450, 384, 768),
        ("siglip_base_patch16_512", 203792962, 512, 768),
        ("siglip_large_patch16_256", 652151106, 256, 1024),
        ("siglip_large_patch16_384", 652479106, 384, 1024),
        ("siglip_so400m_patch14_224", 877360578, 224, 1152),
        ("siglip_so400m_patch14_384", 877961291, 384, 1152),
        ("siglip_so400m_patch16_256_i18n", 1128759282, 256, 1152),
        ("siglip_base_patch16_256_multilingual", 370626370, 256, 768),
        ("siglip2_base_patch16_224", 375188230, 224, 768),
        ("siglip2_base_patch16_256", 375234370, 256, 768),
        ("siglip2_base_patch32_256", 376856194, 256, 768),
        ("siglip2_base_patch16_384", 376856194, 384, 768),
        ("siglip2_large_patch16_256", 881527106, 256, 1024),
        ("siglip2_large_patch16_384", 881855106, 384, 1024),
        ("siglip2_large_patch16_512", 882314306, 512, 1024),
        ("siglip2_giant_opt_patch16_256", 1871394226, 256, 1536),
        ("siglip2_giant_opt_patch16_384", 1871886066, 384, 1536),
        ("siglip2_so400m_patch14_224", 1135463922, 224, 1152),
        ("siglip2_so400m_patch14_384", 1136009291, 384, 1152),
        ("siglip2_so400m_patch16_256", 1135671282, 256, 1152),
        ("siglip2_so400m_patch16_384", 1136040242, 384, 1152),
        ("siglip2_so400m_patch16_512", 1136555698, 512, 1152),
        ("medsiglip_900m_448", 878301426, 448, 1152),
    )
)


def list_presets() -> list[str]:
    """Formats a table of `PRESETS`: a header, then one line per preset."""
    lines = [
        "preset                                   parameters download   memory width "
        "pixels"
    ]
    for preset in PRESETS:
        download, memory = preset.download_bytes / 1e9, preset.memory_bytes / 1e9
        lines.append(
            f"{preset.name:<37} {preset.num_parameters:>13,} {download:>5.1f} GB "
            f"{memory:>5.1f} GB {preset.width:>5} {preset.image_size:>6}"
        )
    return lines


def find_folder(name: str) -> pathlib.Path | None:
    """Finds the folder of a preset in KerasHub's cache.

    Args:
        name: name of a preset.

    Returns:
        The folder, which may not exist; None for an unknown preset.
    """
    import keras_hub
    from kagglehub.config import get_cache_folder

    known = keras_hub.models.Backbone.presets.get(name)
    if known is None:
        return None
    handle = known["kaggle_handle"].removeprefix("kaggle://")
    return pathlib.Path(get_cache_folder(), "models", *handle.split("/"))


def resolve(name: str) -> str:
    """Replaces a preset's name by its cache folder, if that was copied from elsewhere.

    kagglehub marks each file that it has fetched as complete, and asks the network for
    unmarked files. A copied folder has no marks.
    """
    if os.path.isdir(name):
        return name
    folder = find_folder(name)
    if folder is None or not (folder / "config.json").is_file():
        return name
    marks = folder.parent / ".complete" / folder.name
    return name if marks.is_dir() else os.fspath(folder)


def explain_missing(name: str, reason: str) -> str:
    """Explains in one line why a preset is not available, and how to get it.

    Args:
        name: name of the preset.
        reason: why it could not be loaded.
    """
    folder = find_folder(name)
    if folder is None:
        # For a name with a scheme, such as hf://, the hub knows the reason.
        reason = f" ({reason})" if "://" in name else ""
        return (
            "clip must be a preset of --list, a preset's folder, or a folder in "
            f"Hugging Face format. Received: {name}{reason}"
        )
    return (
        f"clip must be available. Received: {name}, which is not in {folder}, and "
        f'could not be fetched ({reason}). Either run `python -c "import kagglehub; '
        f"print(kagglehub.model_download('{'/'.join(folder.parts[-5:])}'))\"` where "
        "there is a network and copy the content of the folder that it prints to the "
        "one above, or give the folder of a preset or one in Hugging Face format: "
        "--clip FOLDER"
    )
