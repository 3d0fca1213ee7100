"""A trained model leaves the house: as a file, with a card that says what it is."""
