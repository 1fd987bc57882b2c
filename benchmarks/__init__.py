"""Measurements, run by hand.

`make bench` and `python -m benchmarks.gpu` measure speed (docs/explanation/performance.md), `python -m benchmarks.recipes`
what the recipes reach (docs/results.md), and `python -m benchmarks.soak` whether anything grows over many experiments
(docs/explanation/reliability.md).
"""
