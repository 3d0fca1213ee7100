"""One file a command; __main__ joins them."""
