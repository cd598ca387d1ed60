"""What people see in a terminal: a run's progress, its summary, one of its pairs."""
