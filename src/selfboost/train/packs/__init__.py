"""What is trained on, as token ids: rows, micro-batches, packs without padding."""
