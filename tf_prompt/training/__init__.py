"""Losses, callbacks, strategy and the loop around model.fit."""
