"""Every way in which a workflow ends, played on real parts so that its history can be recorded."""

from types import ModuleType

from tests.replay import approval_scenes, budget_scenes, deletion_scenes, run_scenes
from tests.replay.scene_runner import SCENES, Scene, Stage

DECLARED: tuple[ModuleType, ...] = (run_scenes, approval_scenes, deletion_scenes, budget_scenes)
"""The modules whose scenes stand in `SCENES`, in this order."""

__all__ = ["DECLARED", "SCENES", "Scene", "Stage"]
