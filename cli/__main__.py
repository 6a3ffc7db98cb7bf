"""`python -m cli` is `taskforce`."""

from cli.main import main

main()
