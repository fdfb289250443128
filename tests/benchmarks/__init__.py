"""Benchmarks of the daemon's speed and costs, seen from outside: `python -m tests.benchmarks --help`."""
