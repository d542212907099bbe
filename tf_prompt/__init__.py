"""tf_prompt: from pictures made by Stable Diffusion back to their prompts."""

__version__ = "0.1.0"
