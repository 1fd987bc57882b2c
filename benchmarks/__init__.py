"""Measurements, run by hand: `make bench` and `python -m benchmarks.gpu`; docs/performance.md shows their tables."""
