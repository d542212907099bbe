"""What a machine offers for runs: devices, packages, weights."""
