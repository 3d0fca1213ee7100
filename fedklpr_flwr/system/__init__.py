"""Files, clock, named randomness: the machine below."""
