"""Files of a run's folder, opened so that nobody else's file is written, and the lock that allows one writer."""
