"""The web page: prompts of images, and what they rest on."""
