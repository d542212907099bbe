"""The HTTP service: one model behind the interfaces of other tools."""

MISSING = 'serve needs an extra: pip install "tf_prompt[serve]"'
