"""Training: losses, optimizers, callbacks, strategies and the loop around model.fit."""
