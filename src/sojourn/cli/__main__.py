"""``python -m sojourn.cli``: the same as ``sojourn``."""

from sojourn.cli import main

if __name__ == "__main__":  # doctest collection imports every module
    main()
