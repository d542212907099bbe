"""One module for each way in which images and their prompts are laid out."""
