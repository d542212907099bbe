"""The PyTorch twin of a captioner: our weights, the same training step.

Nothing here needs TensorFlow.
"""

import contextlib

import keras
import numpy as np
import torch

from benchmarks import accelerator, torch_captioners

TWINS = {
    "lstm_base": torch_captioners.LSTMRival,
    "transformer_base": torch_captioners.TransformerRival,
}


def torch_steps(rival, images, token_ids, targets, steps: int, config, autocast=None):
    """Builds the rival's steps: the loop of every PyTorch project, its fused optimiser.

    Args:
        rival: a captioner of `torch_captioners`, or what `torch.compile` made of it.
        images: uint8 `(batch, height, width, 3)`.
        token_ids: int `(batch, tokens)`.
        targets: int `(batch, tokens)`, the next tokens.
        steps: number of steps of a run.
        config: has `learning_rate`, `weight_decay` and `clip_norm`.
        autocast: a context of mixed precision, entered for the forward pass.
    """
    device = next(rival.parameters()).device
    images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
    token_ids = torch.from_numpy(token_ids).to(device)
    targets = torch.from_numpy(targets).to(device).long()
    trained = [p for p in rival.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    rival.train()

    def run():
        for _ in range(steps):
            with autocast or contextlib.nullcontext():
                loss = loss_of(rival(images, token_ids), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.clip_norm)
            optimizer.step()
        loss.item()

    return run


def count_training(preset: str, batch: int, tokens: int, vocab_size: int) -> int:
    """FLOP of products and convolutions in a training step of a twin."""
    with torch.device("meta"):
        twin = TWINS[preset](vocab_size).train()
        images = torch.zeros(batch, 3, 224, 224)
        words = torch.zeros(batch, tokens, dtype=torch.long)
        return accelerator.count_flop(
            lambda: loss_of(twin(images, words), words).backward()
        )


def loss_of(logits, targets):
    """Mean cross-entropy of all words."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def same_loss(model, rival, token_ids, targets, tolerance=1e-3, autocast=None) -> bool:
    """Whether equal weights and regions give equal logits and loss.

    Args:
        model: our captioner.
        rival: its twin.
        token_ids: int `(batch, tokens)`.
        targets: int `(batch, tokens)`.
        tolerance: largest difference, in standard deviations of the logits.
        autocast: see `torch_steps`.
    """
    rng = np.random.default_rng(1)
    regions = rng.random((2, 49, torch_captioners.DEPTH)).astype(np.float32)
    token_ids, targets = token_ids[:2], torch.from_numpy(targets[:2]).long()
    ours = model({"regions": regions, "token_ids": token_ids})
    rival.eval()
    device = next(rival.parameters()).device
    with torch.no_grad(), autocast or contextlib.nullcontext():
        inputs = (torch.from_numpy(x).to(device) for x in (regions, token_ids))
        theirs = rival.decode(*inputs).float().cpu()
    ours = torch.from_numpy(to_numpy(ours))
    losses = [float(loss_of(logits, targets)) for logits in (ours, theirs)]
    return close(ours, theirs, tolerance) and np.isclose(*losses, rtol=tolerance)


def close(ours, theirs, tolerance: float) -> bool:
    """Whether logits differ by so many of their standard deviations at most."""
    return bool(abs(ours - theirs).max() <= tolerance * ours.std())


def to_numpy(x) -> np.ndarray:
    """A tensor of PyTorch or of any Keras backend as a float32 array."""
    if torch.is_tensor(x):
        return x.detach().float().cpu().numpy()
    return np.array(keras.ops.convert_to_numpy(x), "float32")


def copy_weights(model, rival) -> None:
    """Gives the rival's decoder our weights."""
    (rival.embedding.weight.data,) = read(model.embedding)
    copy_dense(model.output_proj, rival.output_proj)
    if isinstance(rival, torch_captioners.LSTMRival):
        for name in ("state_proj", "region_proj", "score"):
            copy_dense(getattr(model.attention, name), getattr(rival, name))
        for name in ("initial_hidden", "initial_carry", "gate"):
            copy_dense(getattr(model, name), getattr(rival, name))
        kernel, recurrent, bias = read(model.cell)
        rival.cell.weight_ih.data = kernel.T.contiguous()
        rival.cell.weight_hh.data = recurrent.T.contiguous()
        rival.cell.bias_ih.data, rival.cell.bias_hh.data = bias, bias * 0
        return
    for part in ("encoder", "decoder"):
        copy_norm(getattr(model, f"{part}_norm"), getattr(rival, f"{part}_norm"))
        blocks = getattr(model, f"{part}_blocks"), getattr(rival, f"{part}_blocks")
        for ours, theirs in zip(*blocks, strict=True):
            copy_block(ours, theirs)


def copy_block(ours, theirs) -> None:
    """Copies a Transformer block."""
    for name, part in theirs.named_children():
        if name.endswith("norm"):
            copy_norm(getattr(ours, name), part)
        elif name.endswith("attention"):
            keys = ("query", "key", "value", "output")
            for key in keys:
                copy_dense(
                    getattr(getattr(ours, name), f"{key}_dense"), getattr(part, key)
                )
        else:
            copy_dense(getattr(ours, name), part)


def copy_dense(ours, theirs) -> None:
    """Copies a projection, its heads side by side."""
    kernel, bias = read(ours)
    theirs.weight.data = kernel.reshape(theirs.weight.shape[::-1]).T.contiguous()
    theirs.bias.data = bias.flatten()


def copy_norm(ours, theirs) -> None:
    """Copies a layer normalisation."""
    theirs.weight.data, theirs.bias.data = read(ours)


def read(layer) -> list[torch.Tensor]:
    """A layer's weights, float32 whatever its own type."""
    return [torch.from_numpy(to_numpy(w)) for w in layer.weights]
