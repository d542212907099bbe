"""The web page: prompts of a picture, and what they rest on."""
