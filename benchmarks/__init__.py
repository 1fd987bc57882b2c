"""Measurements, run by hand.

`make bench` and `python -m benchmarks.gpu` measure speed (docs/explanation/performance.md).
`python -m benchmarks.scale` measures growing costs (docs/scale/capacity.md).
`python -m benchmarks.recipes` measures what the recipes reach (docs/results/README.md).
`python -m benchmarks.study` compares the norms (docs/results/study-norms.md).
`python -m benchmarks.soak` checks that nothing grows over many experiments (docs/explanation/reliability.md).
"""
