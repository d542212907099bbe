"""Asks a CLIP which phrases a picture shows."""
