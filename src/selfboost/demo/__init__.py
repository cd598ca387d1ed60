"""The embedded demo: a small made-up world of tasks, a tiny model that half masters it,
and the scripts that make both."""
