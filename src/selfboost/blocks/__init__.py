"""The blocks of a stage: how it is cut, what a worker does with a block, and what becomes of the results."""
