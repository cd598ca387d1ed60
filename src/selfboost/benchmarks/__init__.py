"""Benchmarks: what rates a model. A file here is a benchmark when it defines the class of its own name."""
