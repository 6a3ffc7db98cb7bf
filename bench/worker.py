"""Worker of the product with one more tool, and with a sampler when a file for its findings is named."""

import os
import sys
from pathlib import Path

import worker
from bench.sampler import Sampler
from bench.tools import offer


def main() -> int:
    """Runs the worker as `python -m worker` does; returns the exit code."""
    offer()
    if len(sys.argv) > 1:
        Sampler(Path(sys.argv[1])).start()
    return worker.main()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # As in worker.py: the Temporal SDK sometimes aborts the interpreter at exit.
    os._exit(code)
