"""`metarl play` from a checkout."""

from metarl.__main__ import main

if __name__ == "__main__":
    main("play")
