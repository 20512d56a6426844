"""The files installed with the package: scenarios, protocol text, reference programs, examples.

In a checkout, these files are at the top of the repository, and these functions change nothing.
"""

from __future__ import annotations

from pathlib import Path

KIT = Path(__file__).parent / "kit"  # exists only in a wheel


def find(path: Path) -> Path:
    """The path itself if it exists, else the same path among the installed files, if it exists."""
    installed = KIT / path
    return installed if not path.exists() and installed.exists() else path


def shown(path: Path) -> Path:
    """The path as ids name it: a path of an installed file relative to the folder KIT."""
    return path.relative_to(KIT) if path.is_relative_to(KIT) else path
