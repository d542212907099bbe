"""Records, splits, the toy set and the batches that models see."""
