"""The run page, the comparison page and the model card. Nothing else renders HTML or Markdown of a page.

Stages and commands import it. It takes results and returns text. Only `comparison` imports the comparison of runs.
"""
