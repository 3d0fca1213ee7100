"""Room 5: one round, both halves, still without Flower."""
