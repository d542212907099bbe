"""Metrics of predicted prompts: strings or arrays in, numbers out."""
