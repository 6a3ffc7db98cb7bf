"""Runs `cli.setup` from this checkout with the standard library alone; `scripts/setup.sh` finds the interpreter."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.setup.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
