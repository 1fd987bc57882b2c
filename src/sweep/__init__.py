"""Many trainings over many machines: what a sweep is, what is known of its trials, how one runs on its machine."""
