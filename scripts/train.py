"""`metarl train` from a checkout, and what torchrun starts."""

from metarl.__main__ import main

if __name__ == "__main__":
    main("train")
