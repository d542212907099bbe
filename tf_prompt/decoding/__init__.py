"""Greedy decoding, beam search and sampling for any captioner's step function."""
