"""From DiffusionDB and similar sources to TFRecord shards; run from a checkout."""
