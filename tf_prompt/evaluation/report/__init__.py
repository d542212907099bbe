"""Runs side by side: what was read, compared, drawn and written about them."""
