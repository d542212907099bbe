"""Captioners as LiteRT files: written with TensorFlow, read without."""
