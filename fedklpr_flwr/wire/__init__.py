"""Room 4: masked tensors to bytes and back."""
