"""How a stage or command runs: signals, error messages, slots of the CPU, and what DVC says about the workspace.

Everything may import it. It only imports the modules for files, errors, git, processes and params.yaml.
"""
