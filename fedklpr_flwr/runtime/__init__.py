"""What carries a federation: records, transports, checkpoints, the launcher."""
