"""Recipes, `-S` arguments, the page of parameters, and how params.yaml differs from the last commit.

Everything may import it. It only imports the modules for files, errors, git and params.yaml.
"""
