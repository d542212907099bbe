"""One module per layout of images and their prompts."""
