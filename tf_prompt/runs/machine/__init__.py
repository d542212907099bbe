"""What a machine brings to a run: devices, packages, weights."""
