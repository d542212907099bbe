"""Captioners as LiteRT files: written with TensorFlow, read without."""

# Of a file's weights.
PRECISIONS = ("float32", "float16", "int8")
