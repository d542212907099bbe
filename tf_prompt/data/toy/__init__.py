"""The built-in toy set: a grammar of prompts and a renderer of their images."""
