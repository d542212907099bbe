"""Measures a run: prompts of a split, scores, baselines, pages."""
