"""Loads pretrained weights of image backbones from presets, folders and files."""

from keras import ops

from tf_prompt.models import backbones, efficientnet_lite
from tf_prompt.models.pretrained import explaining, open_network

_RULE = (
    "backbone_weights must be a KerasHub preset within reach, a preset's folder, a "
    "transformers folder or a .weights.h5 file that fits the backbone"
)


def find_source(name: str) -> str | None:
    """Returns the source of a backbone's own pretrained weights.

    Args:
        name: as in `backbones.describe_backbone`.

    Returns:
        A source for `load_weights`; None for an architecture without any.
    """
    if name in backbones.ARCHITECTURES:
        return backbones.ARCHITECTURES[name].weights
    return name


def load_weights(model, source: str) -> None:
    """Loads pretrained weights into the backbone of a model.

    Position embeddings for another resolution are interpolated.

    Args:
        model: from `encoders.build_encoder` or `backbones.build_backbone`; changed.
        source: KerasHub preset, from its cache or the network; folder of a preset or
            of transformers; name of an EfficientNet-Lite whose package is installed;
            or `.weights.h5` file of the same network.

    Raises:
        ValueError: if the weights cannot be found, or do not fit; says what to do.
    """
    network = model.get_layer("backbone")
    if source in efficientnet_lite.ARGUMENTS:
        efficientnet_lite.load_weights(source, network)
    elif str(source).endswith(".h5"):
        with explaining(_RULE, source):
            network.load_weights(source)
    else:
        _copy_weights(open_network(source, _RULE), network, source)


def _copy_weights(pretrained, network, source) -> None:
    prefix = backbones.count_prefix(type(pretrained), pretrained.get_config())
    if len(pretrained.weights) != len(network.weights):
        # A captioner reads the regions of a SigLIP, not its head.
        pretrained = backbones.without_head(pretrained)
    values = pretrained.weights
    if len(values) != len(network.weights):
        raise ValueError(
            f"backbone_weights must be those of {type(network).__name__} with "
            f"{len(network.weights)} arrays. Received: {source} with {len(values)}"
        )
    for variable, value in zip(network.weights, values, strict=True):
        if "position_ids" in variable.path:
            continue
        if variable.shape != value.shape:
            value = _fit_positions(value, variable, source, prefix.positions)
        variable.assign(value)


def _fit_positions(value, variable, source, prefix):
    same_width = value.shape[-1] == variable.shape[-1]
    if "position" not in variable.path or not same_width:
        raise ValueError(
            f"backbone_weights must hold {variable.path} of shape "
            f"{tuple(variable.shape)}. Received: {source} with {tuple(value.shape)}"
        )
    table = ops.reshape(value, value.shape[-2:])
    table = interpolate_positions(table, variable.shape[-2], prefix)
    return ops.reshape(table, variable.shape)


def interpolate_positions(table, length: int, prefix: int = 1):
    """Interpolates position embeddings for another grid of patches.

    Args:
        table: float `(prefix + side * side, dim)`, rows of class tokens first.
        length: int, number of rows wanted: `prefix` plus a square number.
        prefix: int >= 0, number of rows that belong to no patch.

    Returns:
        float `(length, dim)`: the first `prefix` rows unchanged, the others resized
        like an image by bicubic interpolation.

    Reference: Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929, 3.2.
    """
    before, after = (round((n - prefix) ** 0.5) for n in (table.shape[0], length))
    dim = table.shape[-1]
    grid = ops.reshape(table[prefix:], (1, before, before, dim))
    grid = ops.image.resize(grid, (after, after), interpolation="bicubic")
    return ops.concatenate([table[:prefix], ops.reshape(grid, (after * after, dim))])
