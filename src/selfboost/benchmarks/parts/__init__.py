"""What benchmarks are built of: the arithmetic of public evaluations. Nothing here is a component."""
