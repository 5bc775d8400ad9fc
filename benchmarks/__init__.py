"""Overheads: what an implementation adds to the time of its models. See ``python -m benchmarks --help``."""
