"""One merge: who is there, what came, how much it weighs."""
