"""Reports that compare runs, and model cards."""
