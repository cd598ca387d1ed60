"""Measuring any model by any benchmark, without a run: the request, the measurement, its file, two of them compared."""
