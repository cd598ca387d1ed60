"""`python -m selfboost` is the command `selfboost`."""

from selfboost.cli import main

if __name__ == "__main__":
    main()
