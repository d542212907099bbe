"""Client of TF Serving, over gRPC or REST."""
