"""Many trainings on many machines: the sweep file, the records of its trials, and one trial on its machine.

Only the command `sweep` imports it. Only trial.py imports ray, which is an optional package.
"""
