"""Secure aggregation: the server learns the sum of all updates, and none of them."""
