"""The web page: prompts of images, with scores, attention and neighbours."""
