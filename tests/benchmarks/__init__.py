"""How fast the daemon is, and what it costs, seen from outside: `python -m tests.benchmarks --help`."""
