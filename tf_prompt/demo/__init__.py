"""The web page: prompts of images, and how the models found them."""
