"""All code of NormLens except its entry points, which are `stages`, `commands` and `recipes`.

Entry points, benchmarks and tests import it. Nothing here imports an entry point.
"""
