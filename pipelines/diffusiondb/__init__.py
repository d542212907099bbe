"""DiffusionDB: its layouts, metadata and filters."""
