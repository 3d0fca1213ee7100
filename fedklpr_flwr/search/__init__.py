"""Whoever is on a picture, found among the pictures of a folder."""
