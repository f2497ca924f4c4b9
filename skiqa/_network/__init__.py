"""A timm network: its stages, its state as arrays, and the files that hold it."""
