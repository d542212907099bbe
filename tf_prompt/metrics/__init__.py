"""Scores of written prompts: strings or arrays in, numbers out."""
