"""Inference: images in, prompts and embeddings out, for every kind of model."""
