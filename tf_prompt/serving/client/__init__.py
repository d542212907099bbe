"""Prompts from a model server: TF Serving over gRPC or REST."""
