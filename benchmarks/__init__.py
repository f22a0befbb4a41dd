"""What a request costs: the bare application against the hardened one, the usual glue, and another package.

`python -m benchmarks --help` lists what it can do; docs/explanation/performance.md says what the figures mean.
"""
