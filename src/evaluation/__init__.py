"""Test metrics, calibration and the logits that they are computed from.

Everything except data, model and training may import it. It imports data and model.
"""
