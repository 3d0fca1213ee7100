"""Room 1: pictures on disk become batches."""
