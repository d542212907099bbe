"""From DiffusionDB and its like to TFRecord shards; run from a checkout."""
