"""Follows a ComfyUI graph from the image back to the prompt."""

import re

# Whatever exceeds these limits is ignored.
_MAX_NODES, _MAX_DEPTH = 5000, 100

_NEGATIVE, _POSITIVE = "negative", "positive"
# Inputs that distinguish samplers from other nodes with a positive input.
_SAMPLES = {"seed", "noise_seed", "steps", "sampler_name", "sigmas", "latent_image"}
# Names of inputs with text; of a node, the first line counts of which it has any.
# Names with the side, such as `text_positive`, come before these.
_TEXTS = (
    ("populated_text",),
    ("text_g", "text_l"),
    ("clip_l", "clip_g", "t5xxl"),
    ("text",),
    ("prompt",),
    ("string",),
    ("value",),
)
_SIDED = ("{}", "text_{}", "{}_prompt", "prompt_{}")
# As above, for nodes that join texts; and the maximum length of what they insert.
_PART = re.compile(r"(?:text|string|prompt|str)_?(?:[a-h]|\d{1,2})")
_DELIMITERS, _MAX_DELIMITER = ("delimiter", "separator"), 16
# Inputs that lead neither to a prompt nor to the noise.
_NO_TEXT = re.compile(
    r"(clip|model|vae|image|mask|pixels|latent|samples|control_?net|noise|sigmas)"
)
_NO_IMAGE = {_POSITIVE, _NEGATIVE, "conditioning", "guider", "text_embeds"}
_NO_IMAGE |= {"model", "clip", "vae", "control_net", "noise", "sampler", "sigmas"}
_MODELS = ("ckpt_name", "base_ckpt_name", "unet_name", "model_name", "gguf_name")
_SEEDS, _STEPS = ("seed", "noise_seed", "value", "int"), ("steps", "value", "int")
# A node that replaces any prompt with an empty one.
_EMPTIES = "ConditioningZeroOut"
_MUTED, _BYPASSED = 2, 4
_CONTROLS = ("fixed", "increment", "decrement", "randomize")
# The editor's graph has values without names, in this order; after a seed comes what
# the editor does with it. Newer graphs name them as inputs.
_WIDGETS = {
    "KSampler": "seed steps cfg sampler_name scheduler denoise",
    "KSamplerAdvanced": "add_noise noise_seed steps cfg sampler_name scheduler",
    "SamplerCustom": "add_noise noise_seed cfg",
    "RandomNoise": "noise_seed",
    "BasicScheduler": "scheduler steps denoise",
    "CLIPTextEncode": "text",
    "CLIPTextEncodeSDXL": "width height crop_w crop_h target_width target_height "
    "text_g text_l",
    "CLIPTextEncodeSDXLRefiner": "ascore width height text",
    "CLIPTextEncodeFlux": "clip_l t5xxl guidance",
    "CheckpointLoader": "config_name ckpt_name",
    "CheckpointLoaderSimple": "ckpt_name",
    "UNETLoader": "unet_name weight_dtype",
    "PrimitiveNode": "value",
}


def load_prompt(content: dict) -> dict[str, dict]:
    """Converts a graph in the format of ComfyUI's API, which is the one it runs.

    Returns:
        dict from a node's id to its inputs: a dict from name to a value or to
        `[id, output]` of another node, with the node's type under `class`.
    """
    nodes = {}
    for key, node in list(content.items())[:_MAX_NODES]:
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            nodes[str(key)] = {**node["inputs"], "class": node.get("class_type")}
    return nodes


def load_workflow(content: dict) -> dict[str, dict]:
    """Converts a graph in the editor's format to that of `load_prompt`."""
    links = {}
    for link in content["links"]:
        if isinstance(link, dict):
            links[link["id"]] = [str(link["origin_id"]), link["origin_slot"]]
        else:
            links[link[0]] = [str(link[1]), link[2]]
    nodes = {}
    for node in content["nodes"][:_MAX_NODES]:
        if node.get("mode") == _MUTED:
            continue
        inputs = {}
        slots = node.get("inputs") or []
        # A bypassed node passes on its inputs and has no values of its own.
        if node.get("mode") != _BYPASSED:
            inputs = _name_widgets(node, slots)
        for slot in slots:
            if slot.get("link") in links:
                inputs[slot["name"]] = links[slot["link"]]
        nodes[str(node["id"])] = {**inputs, "class": node.get("type")}
    return nodes


def _name_widgets(node, slots):
    values = node.get("widgets_values") or []
    if isinstance(values, dict):
        return dict(values)
    names = [slot["widget"]["name"] for slot in slots if slot.get("widget")]
    known = _WIDGETS.get(node.get("type"), "").split()
    if len(known) > len(names):
        names = known
    texts = [value for value in values if isinstance(value, str)]
    if not names and len(texts) == 1:
        return {"text": texts[0]}
    found, values = {}, list(values)
    for name in names:
        if not values:
            break
        found[name] = values.pop(0)
        if name in _SEEDS[:2] and values and values[0] in _CONTROLS:
            values.pop(0)
    return found


def describe(nodes: dict[str, dict]) -> dict | None:
    """Finds the inputs of the sampler that made the image.

    It is the first one on the way from noise to image: later ones refine the image or
    a part of it, often with another prompt.

    Args:
        nodes: from `load_prompt` or `load_workflow`.

    Returns:
        dict of `prompt`, `negative_prompt`, `seed`, `steps` and `model`, None if
        unknown; or None if there is no sampler.
    """
    sampler = _find_sampler(nodes)
    if sampler is None:
        return None
    inputs = nodes[sampler]
    guider = nodes.get(_link(nodes, inputs.get("guider")), {})
    seed = _find(nodes, inputs, ("seed", "noise_seed", "noise"), _SEEDS, int)
    steps = _find(nodes, inputs, ("steps", "sigmas"), _STEPS, int)
    model = _find(nodes, {**guider, **inputs}, ("model",), _MODELS, str)
    return {
        "prompt": _gather(nodes, inputs, guider, _POSITIVE),
        "negative_prompt": _gather(nodes, inputs, guider, _NEGATIVE),
        "seed": seed,
        "steps": steps,
        "model": model,
    }


def _find_sampler(nodes):
    used = {link for inputs in nodes.values() for _, link in _links(nodes, inputs)}
    ends = [key for key in nodes if key not in used]
    # If a graph saves several images, the first is used.
    ends.sort(key=lambda key: "SaveImage" not in str(nodes[key]["class"]))
    seen: set[str] = set()
    for end in (*ends, *nodes):
        reached, sampler = [end], None
        for key in reached:
            if key in seen:
                continue
            seen.add(key)
            if _is_sampler(nodes, nodes[key]):
                sampler = key
            links = _links(nodes, nodes[key])
            reached.extend(link for name, link in links if name not in _NO_IMAGE)
        if sampler is not None:
            return sampler
    return None


def _is_sampler(nodes, inputs):
    names = {name for name, _ in _links(nodes, inputs)}
    if names & {"guider", "text_embeds"}:
        return True
    return _POSITIVE in names and bool(_SAMPLES & inputs.keys())


def _link(nodes, value):
    """Returns the node that a value comes from; None if it is a plain value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0]) if str(value[0]) in nodes else None
    return None


def _links(nodes, inputs):
    """Yields the name and source of each input that comes from another node."""
    for name, value in inputs.items():
        link = _link(nodes, value)
        if link is not None:
            yield name, link


def _gather(nodes, inputs, guider, side):
    """Joins the different texts on one side of a sampler, in the graph's order."""
    start = inputs.get(side, guider.get(side, inputs.get("text_embeds")))
    if start is None and side == _POSITIVE:
        start = inputs.get("guider")
    texts = _follow(nodes, start, side, set(), 0)
    return ", ".join(dict.fromkeys(texts))


def _follow(nodes, value, side, seen, depth):
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    link = _link(nodes, value)
    if link is None or link in seen or depth > _MAX_DEPTH:
        return []
    seen.add(link)
    inputs = nodes[link]
    if inputs["class"] == _EMPTIES:
        return []

    def follow(names):
        for name in names:
            yield from _follow(nodes, inputs[name], side, seen, depth + 1)

    for names in (*((name.format(side),) for name in _SIDED), *_TEXTS):
        if present := [name for name in names if _may_be_text(nodes, inputs, name)]:
            return list(follow(present))
    if parts := [name for name in inputs if _PART.fullmatch(name)]:
        between = [inputs[name] for name in _DELIMITERS if name in inputs]
        return [str(*between[:1])[:_MAX_DELIMITER].join(follow(parts))]
    chosen = f"input{inputs.get('select')}"
    if chosen in inputs:
        return list(follow([chosen]))
    other = _NEGATIVE if side == _POSITIVE else _POSITIVE
    names = [name for name, _ in _links(nodes, inputs) if name != other]
    return list(follow(name for name in names if not _NO_TEXT.match(name)))


def _may_be_text(nodes, inputs, name):
    value = inputs.get(name)
    return isinstance(value, str) or _link(nodes, value) is not None


def _find(nodes, inputs, starts, names, kind):
    """Returns the nearest value of a type with one of the names, from an input on."""
    for start in starts:
        value = inputs.get(start)
        if isinstance(value, kind):
            return value
        reached, seen = [_link(nodes, value)], {None}
        for key in reached:
            if key in seen:
                continue
            seen.add(key)
            for name in names:
                if isinstance(nodes[key].get(name), kind):
                    return nodes[key][name]
            reached.extend(link for _, link in _links(nodes, nodes[key]))
    return None
