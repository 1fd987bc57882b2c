"""All drawing: data in, matplotlib figure out.

Stages, commands and benchmarks import it. Training never does, otherwise a changed figure would train models again.
"""
