"""Measurements, run by hand.

`make bench` and `python -m benchmarks.gpu` measure speed (docs/explanation/performance.md).
`python -m benchmarks.recipes` measures what the recipes reach (docs/results/README.md).
`python -m benchmarks.study` compares the norms (docs/results/study-norms.md).
`python -m benchmarks.soak` measures whether anything grows over many experiments (docs/explanation/reliability.md).
"""
