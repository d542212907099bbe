"""One task a kind of model: its data, its batches, its loss."""
