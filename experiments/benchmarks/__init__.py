"""Benchmarks, one file each: a figure beside an anchor that the same run measures.

`python -m experiments.benchmarks` runs them all, `fedklpr bench NAME` one of them.
"""
