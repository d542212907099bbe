"""Examines a machine for `doctor`."""

import concurrent.futures
import os
import pathlib
import platform

import tf_prompt
from tf_prompt.options import user_cache
from tf_prompt.runs.machine import devices, needs, packages, weights

# In the order in which they are shown.
_VERSIONS = ("tensorflow", "keras", "keras-hub", "tensorflow-text", "numpy", "nltk")


def examine(asks_hubs: bool = True) -> dict:
    """Examines versions, devices, extras, caches, weights, and what commands lack.

    Args:
        asks_hubs: whether to try to reach the hubs of weights over the network.

    Returns:
        JSON-compatible dict. `problems` is a list of lines: what keeps tf_prompt or a
        GPU from working. Missing extras and weights are not problems.

    Raises:
        ValueError: if tf_prompt is not installed.
    """
    hubs = weights.HUBS if asks_hubs else {}
    # In parallel: importing TensorFlow takes seconds, and so does a hub's timeout.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(devices.ask_tensorflow)
        answers = {name: pool.submit(weights.reach, url) for name, url in hubs.items()}
        extras = packages.list_extras()
        caches = _list_caches()
        reachable = {name: answer.result() for name, answer in answers.items()}
        seen = asked.result()
    core, *extras = extras
    by_name = {extra.name: extra for extra in extras}
    found = {
        "tf_prompt": tf_prompt.__version__,
        "python": platform.python_version(),
        "system": _name_system(),
        "versions": {n: v for n in _VERSIONS if (v := packages.find_version(n))},
        "devices": _list_devices(seen),
        "extras": {
            extra.name: {"packages": extra.packages, "missing": list(extra.missing)}
            for extra in extras
        },
        "caches": caches,
        "hubs": reachable,
        "weights": [
            {
                "name": w.name,
                "purpose": w.purpose,
                "place": weights.find(w),
                "hub": w.hub,
            }
            for w in weights.ALL
        ],
        "commands": {
            need.command: needs.list_lacks(need, by_name, reachable)
            for need in needs.NEEDS
        },
    }
    return {**found, "problems": _list_problems(core, seen)}


def _name_system() -> str:
    release = platform.release()
    name = f"{platform.system()} {platform.machine()}"
    if "microsoft" in release.lower():
        name += ", WSL2"
    if "COLAB_RELEASE_TAG" in os.environ:
        name += ", Colab"
    if pathlib.Path("/.dockerenv").exists():
        name += ", in a container"
    return name


def _list_devices(seen) -> dict:
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpu_cores": os.cpu_count(), "memory_bytes": memory, "gpus": seen["gpus"]}


def _list_caches() -> dict[str, dict]:
    """Returns, by name, each cache's folder and size; None if it does not exist."""
    folders = {
        "KerasHub": weights.keras_hub_cache(),
        "Hugging Face": weights.hugging_face_cache(),
        "tf_prompt": user_cache(),
    }
    found = {
        name: {
            "place": str(folder),
            "bytes": weights.measure([folder]) if folder.is_dir() else None,
        }
        for name, folder in folders.items()
    }
    toys = weights.find_toy_sets()
    found["toy set"] = {
        "place": str(toys[-1]) if toys else None,
        "bytes": weights.measure(toys) if toys else None,
    }
    found["NLTK's WordNet"] = {"place": weights.find_wordnet()}
    return found


def _list_problems(core: packages.Extra, seen: dict) -> list[str]:
    problems = []
    if core.missing:
        names = ", ".join(core.missing)
        problems.append(f"the core lacks {names}: pip install --upgrade tf_prompt")
    if seen["error"]:
        problems.append(f"TensorFlow cannot be imported: {seen['error']}")
    elif not seen["gpus"] and (unseen := devices.list_nvidia_gpus()):
        problems.append(devices.explain_unseen(unseen))
    return problems
