"""The optimisation loop: objectives, optimisers, saved states, what is watched and logged."""
