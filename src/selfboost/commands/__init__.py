"""The commands, one file each: `DESCRIPTION`, `add_arguments(parser)` and `execute(arguments)`."""
