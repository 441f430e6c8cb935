"""Ours beside the peer a user would pick instead, on the same work, in one run. `python -m benchmarks --help`."""
