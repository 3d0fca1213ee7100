"""What the project claims, measured: the study's tables, the faults, the benchmarks."""
