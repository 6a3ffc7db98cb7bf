"""Validates a file of charges with the FinOps Foundation's `focus-validator`, which CI does not have.

It needs Python 3.12 and an environment of its own:

    python3.12 -m venv /tmp/focus && /tmp/focus/bin/pip install 'focus-validator==2.2.1' 'pyarrow<22'
    taskforce costs show REPORT --focus costs.csv
    python -m scripts.validate_focus costs.csv /tmp/focus/bin/focus-validator
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

VERSION: Final = "1.2"
APPLICABLE: Final = (
    "ACCOUNT_NAMING_SUPPORTED",
    "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED",
    "MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED",
    "NEGOTIATED_PRICING_SUPPORTED",
    "PUBLIC_PRICE_LIST_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED",
    "UNIT_PRICING_SUPPORTED",
    "SUB_ACCOUNT_SUPPORTED",
    "TAGGING_SUPPORTED",
)
"""The criteria under which conditional rules apply to what we charge for."""
CONTRADICTORY: Final = frozenset({"InvoiceId-C-004-C", "InvoiceId-C-005-C"})
"""Rules that no file meets: of the two, one wants an invoice's id in every line, and the other in none."""
_FAILED: Final = re.compile(r"^❌ ([A-Za-z]+-[A-Z]-[0-9]+-[A-Z]): FAIL(.*)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^Total: [0-9]+ \| Pass: ([0-9]+) .*$", re.MULTILINE)


def failures(output: str) -> Sequence[str]:
    """Returns the rules that a file breaks, with what the validator says of each.

    Args:
        output: What the validator has printed; its exit code is 0 in any case.

    Raises:
        ValueError: It has checked nothing.
    """
    total = _TOTAL.search(output)
    if total is None or not int(total[1]):
        raise ValueError("The validator has checked nothing.")
    return [rule + told for rule, told in _FAILED.findall(output) if rule not in CONTRADICTORY]


def validate(file: Path, validator: Path) -> str:
    """Runs the validator on a file; returns what it prints.

    Args:
        file: The file.
        validator: The program `focus-validator`, in an environment of its own.
    """
    # It finds the rules that it comes with by a path relative to where it runs.
    (site,) = (validator.absolute().parent.parent / "lib").glob("python*/site-packages")
    options = ["--validate-version", VERSION, "--block-download", "--focus-dataset", "CostAndUsage"]
    criteria = ["--applicability-criteria", ",".join(APPLICABLE)]
    command = [str(validator.absolute()), "--data-file", str(file.absolute()), *options, *criteria]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)  # noqa: S603 - our arguments
    return done.stdout + done.stderr


def main() -> int:
    """Validates the file that the command line names; returns 1 where it breaks rules."""
    file, validator = (Path(argument) for argument in sys.argv[1:])
    output = validate(file, validator)
    broken = failures(output)
    summary = _TOTAL.search(output)
    sys.stdout.write("\n".join([summary[0] if summary else "", *broken, ""]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
