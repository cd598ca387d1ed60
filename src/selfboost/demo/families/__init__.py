"""The families of tasks of the demo world, one small file per kind of skill."""
