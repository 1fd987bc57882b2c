"""Measurements, run by hand: each script says what it measures, and writes its result beside hardware and versions."""
