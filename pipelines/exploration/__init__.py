"""What a source holds: read its table, count, draw, and write a page about it."""
