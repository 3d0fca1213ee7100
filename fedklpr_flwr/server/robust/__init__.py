"""What one hostile or broken client cannot do to the others."""
