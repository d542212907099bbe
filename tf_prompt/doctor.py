"""Reports what this machine has for tf_prompt, and what commands lack."""

import dataclasses
import sys

from tf_prompt.options import (
    DONE,
    SOME_FAILED,
    command,
    option,
    parse_args,
    print_json,
)

EXAMPLES = ("python -m tf_prompt.doctor", "python -m tf_prompt.doctor --json")


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Reports what this machine has, and what is missing for which command."""

    json: bool = option(False, "print one JSON object", group="output")
    network: bool = option(
        True,
        "ask whether the hubs of pretrained weights answer; nothing is downloaded",
        group="weights",
    )


@command
def main(argv=None) -> int:
    """Runs the command; see `--help`.

    Returns:
        1 if something keeps tf_prompt or a GPU from working, 0 else: what is absent
        and only some commands need is no failure.
    """
    options = parse_args(DoctorConfig, argv, "doctor", EXAMPLES)
    from tf_prompt.runs.machine import examination

    found = examination.examine(options.network)
    if options.json:
        print_json(found)
    else:
        print(show(found))
    return SOME_FAILED if found["problems"] else DONE


def show(found: dict) -> str:
    """Lays out what `examination.examine` found for people."""
    devices = found["devices"]
    memory = devices["memory_bytes"]
    sections = {
        f"tf_prompt {found['tf_prompt']}": [
            ("Python", found["python"]),
            ("system", found["system"]),
            *found["versions"].items(),
        ],
        "Devices": [
            ("CPU", f"{devices['cpu_cores']} cores, {_show_bytes(memory)}"),
            ("GPU", ", ".join(devices["gpus"]) or "none that TensorFlow sees"),
        ],
        "Extras": [(name, _show_extra(e)) for name, e in found["extras"].items()],
        "Caches": [(name, _show_cache(c)) for name, c in found["caches"].items()],
        "Hubs": [
            (name, "answers" if answers else "does not answer")
            for name, answers in found["hubs"].items()
        ],
        "Weights": [(w["name"], _show_weights(w, found)) for w in found["weights"]],
        "Commands": [
            (command, "; ".join(lacks) or "ready")
            for command, lacks in found["commands"].items()
        ],
    }
    lines = []
    for title, rows in sections.items():
        width = max((len(name) for name, _ in rows), default=0)
        lines += [title, *(f"  {name:{width}}  {text}" for name, text in rows), ""]
    return "\n".join([*lines, *(f"problem: {p}" for p in found["problems"])]).strip()


def _show_extra(extra: dict) -> str:
    packages = extra["packages"]
    if not extra["missing"]:
        return ", ".join(f"{name} {version}" for name, version in packages.items())
    absent = [name for name, version in packages.items() if version is None]
    if len(absent) == len(packages):
        return "not installed"
    lacks = ", ".join(extra["missing"])
    return f"incomplete, without {lacks}"


def _show_cache(cache: dict) -> str:
    if cache["place"] is None:
        return "none"
    if "bytes" not in cache:
        return cache["place"]
    size = "empty" if cache["bytes"] is None else _show_bytes(cache["bytes"])
    return f"{size}, {cache['place']}"


def _show_weights(weights: dict, found: dict) -> str:
    place = weights["place"]
    if place is None:
        reachable = found["hubs"].get(weights["hub"])
        place = {True: "can be downloaded", False: "out of reach", None: "not here"}[
            reachable
        ]
    return f"{place} ({weights['purpose']})"


def _show_bytes(count: int | None) -> str:
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
