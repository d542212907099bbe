"""Data: images, text, records, splits, batches, the toy set."""
