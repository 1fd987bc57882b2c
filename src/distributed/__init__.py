"""Training on several devices and nodes.

Only stages import it. Data, model and training never do.
"""
