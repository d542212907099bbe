"""Captioners as LiteRT files: written with TensorFlow, read without."""

# Precisions of a file's weights.
PRECISIONS = ("float32", "float16", "int8")
