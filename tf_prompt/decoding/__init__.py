"""Greedy decoding, beams and sampling over the step of any captioner."""
