"""The folder of a run: its options, model, checkpoints and lock."""
