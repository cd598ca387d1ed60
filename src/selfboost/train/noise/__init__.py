"""Trainable noise on the reference's logits (DNPO): the module, its draws, its objective."""
