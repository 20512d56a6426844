"""The chat's suite, read once for all tests of a process."""

from __future__ import annotations

from pathlib import Path

from conformance.read.scenario import load

SUITE, SCENARIOS = load([Path(__file__).parents[2] / "scenarios"])
