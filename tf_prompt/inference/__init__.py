"""Pictures in, prompts and embeddings out: one model to ask, whatever its kind."""
