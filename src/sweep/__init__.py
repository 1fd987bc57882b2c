"""Many trainings on many machines: the sweep file, the records of its trials, and one trial on its machine."""
