"""Room 2: re-identification; knows nothing of federation."""
