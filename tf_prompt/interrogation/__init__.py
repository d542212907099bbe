"""Interrogation: ranks phrases by their CLIP similarity with images."""
