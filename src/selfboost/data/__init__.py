"""What comes from outside: the seed, pairs that others made, paragraphs, data sets of the Hugging Face hub."""
