"""The laboratory: the chaos trial and the benchmark, each run against the daemon from outside."""
