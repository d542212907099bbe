"""Parses each program's texts: prompt, negative prompt, seed, steps and model."""

import json
import re
from collections.abc import Callable

from tf_prompt.data import embedded_chunks, embedded_graph

# Raised while reading malformed texts.
BROKEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_NEGATIVE = "Negative prompt:"
# A setting of A1111: a name, and a value that may be quoted.
_SETTING = re.compile(r'(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_MIN_SETTINGS, _MAX_SETTINGS_LENGTH = 3, 2**14
# The settings are in the last line, unless extensions add lines.
_MAX_LINES = 8
# InvokeAI's switches, as in `-s 50` and `-S1234`.
_SWITCH = re.compile(r"\s-(s|S)\s*(\d{1,20})(?=\s|$)")
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_JSON_BEGIN = re.compile(r'\s*\{\s*"')


def read_parameters(texts: dict[str, str]) -> dict | None:
    """Parses the text of A1111, and of Fooocus and SwarmUI in the same place.

    The prompt is the one that A1111 displays, with weights and names of networks.
    """
    comment = texts.get(embedded_chunks.USER_COMMENT, "")
    text = texts.get("parameters") or comment
    # A prompt may begin with a brace, but hardly with a quoted name after it.
    if _JSON_BEGIN.match(text):
        return _read_json_parameters(json.loads(text))
    found = _read_infotext(text)
    # People and cameras write into the comment too.
    return None if text is comment and found["steps"] is None else found


def _read_infotext(text):
    lines = text.strip().split("\n")
    place, settings = _find_settings(lines)
    # After the settings come templates and notes of extensions.
    lines = [line.strip() for line in lines[:place]]
    negative = next((n for n, x in enumerate(lines) if x.startswith(_NEGATIVE)), None)
    found = {
        "prompt": "\n".join(lines[:negative]),
        "seed": settings.get("Seed"),
        "steps": settings.get("Steps"),
        "model": settings.get("Model", "").strip('" ') or None,
    }
    if negative is not None:
        rest = "\n".join(lines[negative:])
        found["negative_prompt"] = rest.removeprefix(_NEGATIVE)
    return found


def _find_settings(lines):
    """Returns the number of the line of settings, and the settings, if any."""
    for place in reversed(range(max(0, len(lines) - _MAX_LINES), len(lines))):
        line = lines[place][:_MAX_SETTINGS_LENGTH]
        if "Steps:" not in line and place < len(lines) - 1:
            continue
        settings = dict(_SETTING.findall(line))
        if len(settings) >= _MIN_SETTINGS:
            return place, settings
    return len(lines), {}


def _read_json_parameters(content):
    swarm = content.get("sui_image_params")
    if swarm is not None:
        return {**swarm, "negative_prompt": swarm.get("negativeprompt")}
    if "Comment" in content:
        return read_novelai({"Software": "NovelAI", **content})
    return {**content, "model": content.get("base_model")}


def read_invokeai(texts: dict[str, str]) -> dict | None:
    """Parses InvokeAI's metadata, and its two formats before version 3."""
    if "invokeai_metadata" in texts:
        content = json.loads(texts["invokeai_metadata"])
        model = content.get("model")
        if isinstance(model, dict):
            model = model.get("model_name") or model.get("name")
        return {**content, "prompt": content["positive_prompt"], "model": model}
    if "sd-metadata" in texts:
        content = json.loads(texts["sd-metadata"])
        image = content["image"]
        prompt = image["prompt"]
        if isinstance(prompt, list):
            prompt = ", ".join(part["prompt"] for part in prompt)
        model = content.get("model_weights") or content.get("model")
        return {**image, "model": model, **_split_brackets(prompt)}
    if "Dream" in texts:
        return _read_dream(texts["Dream"])
    return None


def _read_dream(text):
    """Parses a command line: the prompt in quotes, then switches."""
    text = text.strip()
    end = re.search(r'"(?=\s+-)|"$', text[1:])
    if not text.startswith('"') or end is None:
        return None
    switches = dict(_SWITCH.findall(text[1 + end.end() :]))
    prompt = _split_brackets(text[1 : 1 + end.start()])
    return {**prompt, "steps": switches.get("s"), "seed": switches.get("S")}


def _split_brackets(prompt):
    """Splits off the negative prompt, in brackets in InvokeAI before version 3."""
    negative = ", ".join(part.strip(" ,") for part in _BRACKETED.findall(prompt))
    positive = _BRACKETED.sub("", prompt).strip(" ,")
    return {"prompt": re.sub(r"\s{2,}", " ", positive), "negative_prompt": negative}


def read_novelai(texts: dict[str, str]) -> dict | None:
    """Parses NovelAI's texts: `Description`, and JSON in `Comment`."""
    if not texts.get("Software", "").startswith("NovelAI"):
        return None
    found = {"prompt": texts.get("Description"), "model": texts.get("Source")}
    if "Comment" in texts:
        try:
            comment = json.loads(texts["Comment"])
        except BROKEN:
            return found
        prompt = comment.get("prompt") or found["prompt"]
        found |= {"seed": comment.get("seed"), "steps": comment.get("steps")}
        found |= {"prompt": prompt, "negative_prompt": comment.get("uc")}
    return found


def read_comfyui(texts: dict[str, str]) -> dict | None:
    """Parses ComfyUI's graph: the one that was run, or else the editor's."""
    for name, load in (
        ("prompt", embedded_graph.load_prompt),
        ("workflow", embedded_graph.load_workflow),
    ):
        try:
            found = embedded_graph.describe(load(json.loads(texts[name])))
        except BROKEN:
            continue
        if found:
            return found
    return None


def read_ours(texts: dict[str, str]) -> dict | None:
    """Returns what `predict --write-metadata` wrote."""
    text = texts.get(embedded_chunks.OURS)
    return text and {"prompt": text}


READERS: tuple[Callable[[dict[str, str]], dict | None], ...] = (
    read_parameters,
    read_invokeai,
    read_novelai,
    read_comfyui,
    read_ours,
)
