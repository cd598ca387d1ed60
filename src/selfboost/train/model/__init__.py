"""The model as training runs it: attention over packs, log-probabilities, adapters, reward heads."""
