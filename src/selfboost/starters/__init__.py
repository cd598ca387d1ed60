"""What `selfboost new` writes: for each kind of component a small one that works, and the recipe that runs it.

Each file is copied as it stands, its class renamed. No module imports them.
"""
