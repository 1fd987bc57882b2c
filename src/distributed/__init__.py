"""Training on several devices and nodes.

Stages import it. It imports data, model, training and tracking, and none of these imports it.
"""
