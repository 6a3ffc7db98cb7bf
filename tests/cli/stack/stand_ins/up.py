"""`taskforce up` with stand-ins for the product's own programs."""

import sys
import threading
from pathlib import Path

from cli.stack.report import JsonReport
from cli.stack.supervisor import Programs
from cli.up import serve

_PRODUCT = str(Path(__file__).with_name("product.py"))


def sample(url: str, token: str, stop: threading.Event) -> str:
    del stop
    return f"acme-corp:run:{len(url)}-{len(token)}"


def main() -> None:
    commands = {name: [sys.executable, _PRODUCT, name] for name in ("migrate", "worker", "gateway")}
    sys.exit(serve(JsonReport(), programs=Programs(**commands), issue_token=lambda _: "token", run_sample=sample))


if __name__ == "__main__":
    main()
