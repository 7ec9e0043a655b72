"""``python -m sojourn``: the command line, as ``torchrun -m sojourn`` needs it."""

from sojourn.cli import main

if __name__ == "__main__":
    main()
