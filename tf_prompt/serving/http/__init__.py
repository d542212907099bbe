"""The HTTP service: one model behind the interfaces that other tools speak."""

MISSING = 'serve needs an extra: pip install "tf_prompt[serve]"'
