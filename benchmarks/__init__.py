"""Comparisons with rivals; each file answers one question."""
