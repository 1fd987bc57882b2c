"""Comparison of runs: their groups, the statistics over seeds, and pairs of runs on the same images.

The command `compare` and the benchmarks import it, and figures use its types. No stage does.
"""
