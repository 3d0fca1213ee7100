"""Room 3: the papers as arithmetic, tensors in, tensors out."""
