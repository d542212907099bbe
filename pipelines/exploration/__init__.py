"""Explores a source: reads its table, counts, draws, and writes a page about it."""
