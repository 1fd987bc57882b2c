"""Recipes, the `-S` arguments that DVC takes, and how params.yaml differs from the last commit.

Stages, commands, recipes and benchmarks import it. It imports nothing that loads PyTorch or MLflow, except that
`experiment` names the device.
"""
