"""A run folder: its files, rows, lock, resume and models."""
