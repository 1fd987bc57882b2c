"""The report of a run, the model card, and the formats of numbers in both.

Stages, commands, comparison and benchmarks import it. Everything except data, model and training may import `formats`.
"""
