"""What a machine has for runs: devices, packages, weights."""
