"""Measures runs: predictions for a split, scores, baselines, HTML pages."""
