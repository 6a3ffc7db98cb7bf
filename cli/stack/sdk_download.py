"""Lets the Temporal SDK download one of its servers, in a process of its own.

The SDK can abort the interpreter at exit, and a download cannot be interrupted from within; both stay in here.
Run by path: `python -P sdk_download.py (dev|test) <directory>`.
"""

import asyncio
import os
import sys

from temporalio.testing import WorkflowEnvironment


async def download(kind: str, directory: str) -> None:
    """Downloads the server into the directory, by starting it once.

    Args:
        kind: `dev` for the dev server, `test` for the time-skipping one.
        directory: Where the program ends up.
    """
    if kind == "dev":
        environment = await WorkflowEnvironment.start_local(download_dest_dir=directory)
    else:
        environment = await WorkflowEnvironment.start_time_skipping(download_dest_dir=directory)
    await environment.shutdown()


def main() -> None:
    """Exits with 0 when the program is there, else with 1."""
    code = 0
    try:
        asyncio.run(download(sys.argv[1], sys.argv[2]))
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
