"""Where the profiles are."""

from pathlib import Path

CONFIGS = Path(__file__).parents[4] / "configs"
