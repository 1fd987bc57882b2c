"""Measurements, run by hand.

`make bench` and `python -m benchmarks.gpu` measure speed, for docs/performance.md; `python -m benchmarks.recipes` what
the recipes reach, for docs/results.md; `python -m benchmarks.soak` whether anything grows, for docs/reliability.md.
"""
