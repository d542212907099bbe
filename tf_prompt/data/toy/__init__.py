"""The embedded toy set: a grammar of prompts and a renderer of their pictures."""
