"""How a stage or a command runs: signals, error messages, garbage collection and turns on the CPU.

Stages, commands, recipes and benchmarks import it, and the parts of src that wait for such a turn or start processes.
"""
