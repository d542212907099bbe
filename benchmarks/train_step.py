"""A training step of both base models against the same step in PyTorch.

Batches of 16 pictures of 224 pixels and 31 tokens, ResNet50 frozen, AdamW,
gradients clipped, random weights, two threads each.
"""

import os
import sys

import numpy as np
import torch

from benchmarks import measure, threads, torch_captioners

threads.pin()

from tf_prompt.models import presets  # noqa: E402
from tf_prompt.runs.config import FitConfig  # noqa: E402
from tf_prompt.training import recipes  # noqa: E402
from tf_prompt.training.tasks.captioning import CaptioningTask  # noqa: E402

VOCABULARY = 46664
RIVALS = {
    "lstm_base": torch_captioners.LSTMRival,
    "transformer_base": torch_captioners.TransformerRival,
}
PACKAGES = ("tensorflow", "keras", "torch")


def main(argv=None) -> int:
    """Runs the benchmark."""
    quick = measure.parse_quick("train_step", __doc__, argv)
    sizes = (8, 16, 1, 2) if quick else (16, 31, 2, 5)
    return measure.report(*(compare(preset, *sizes) for preset in RIVALS))


def compare(preset: str, batch: int, tokens: int, steps: int, repeats: int) -> dict:
    """Steps a second of one model, both sides on the same batch."""
    model = presets.build(preset)
    rival = RIVALS[preset](VOCABULARY)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 224, 224, 3)).astype(np.uint8)
    ids = rng.integers(4, VOCABULARY, (2, batch, tokens)).astype(np.int32)
    copy_weights(model, rival)
    parity = same_loss(model, rival, *ids)
    config = recipes.complete(FitConfig(preset=preset))
    CaptioningTask.compile_for(model, config, 1000)
    seconds = {}

    def note(name, run):
        seconds.setdefault(name, []).append(measure.time_of(run) / steps)
        return 1 / seconds[name][-1]

    ours, theirs = (
        keras_steps(model, images, *ids, steps),
        torch_steps(rival, images, *ids, steps, config),
    )
    ratios = measure.compare_rates(
        lambda: note("ours", ours), lambda: note("rival", theirs), repeats
    )
    medians = {k: round(float(np.median(v[1:])), 2) for k, v in seconds.items()}
    return measure.result(
        f"train_step_{preset}",
        ratios,
        1,
        parity,
        PACKAGES,
        batch=batch,
        tokens=tokens,
        seconds_per_step=medians,
        load=round(os.getloadavg()[0], 1),
    )


def keras_steps(model, images, token_ids, targets, steps: int):
    """Ours, as `fit` runs it."""
    inputs = {"images": images, "token_ids": token_ids, "target_ids": targets}
    weights = np.ones(targets.shape, np.float32)
    batches = threads.repeat_batch((inputs, targets, weights))
    return lambda: model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)


def torch_steps(rival, images, token_ids, targets, steps: int, config):
    """The rival: the loop of every PyTorch project, with its fused optimiser."""
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    token_ids, targets = torch.from_numpy(token_ids), torch.from_numpy(targets).long()
    trained = [p for p in rival.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    rival.train()

    def run():
        for _ in range(steps):
            logits = rival(images, token_ids)
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.clip_norm)
            optimizer.step()
            loss.item()

    return run


def same_loss(model, rival, token_ids, targets) -> bool:
    """Whether equal weights and regions give equal logits and loss."""
    regions = np.random.default_rng(1).random((2, 49, 2048)).astype(np.float32)
    token_ids, targets = token_ids[:2], targets[:2]
    ours = np.array(model({"regions": regions, "token_ids": token_ids}))
    rival.eval()
    with torch.no_grad():
        theirs = rival.decode(torch.from_numpy(regions), torch.from_numpy(token_ids))
    losses = [
        float(
            torch.nn.functional.cross_entropy(
                torch.as_tensor(logits).flatten(0, 1),
                torch.from_numpy(targets).long().flatten(),
            )
        )
        for logits in (ours, theirs)
    ]
    return np.abs(ours - theirs.numpy()).max() < 1e-4 and np.isclose(*losses, atol=1e-4)


def copy_weights(model, rival) -> None:
    """Gives the rival's decoder our weights."""
    rival.embedding.weight.data = torch.tensor(model.embedding.get_weights()[0])
    copy_dense(model.output_proj, rival.output_proj)
    if isinstance(rival, torch_captioners.LSTMRival):
        for name in ("state_proj", "region_proj", "score"):
            copy_dense(getattr(model.attention, name), getattr(rival, name))
        for name in ("initial_hidden", "initial_carry", "gate"):
            copy_dense(getattr(model, name), getattr(rival, name))
        kernel, recurrent, bias = map(torch.tensor, model.cell.get_weights())
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
    kernel, bias = map(torch.tensor, ours.get_weights())
    theirs.weight.data = kernel.reshape(theirs.weight.shape[::-1]).T.contiguous()
    theirs.bias.data = bias.flatten()


def copy_norm(ours, theirs) -> None:
    """Copies a layer normalisation."""
    theirs.weight.data, theirs.bias.data = map(torch.tensor, ours.get_weights())


if __name__ == "__main__":
    sys.exit(main())
