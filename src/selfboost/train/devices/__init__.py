"""Several processes that train together, and weights spread over their devices."""
