"""Captioners, their encoders and the table of presets."""
