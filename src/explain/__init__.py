"""Class activation maps, and measures of whether they can be trusted.

Stages, commands, comparison and figures import it. It imports data and model.
"""
