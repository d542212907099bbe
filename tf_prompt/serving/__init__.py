"""Exports of models for TF Serving, and a client of such servers."""
