"""The bench: chat servers measured beside those that people would pick.

    python -m bench --quick

A server runs on one core, the load generator (load.c) on another. The contenders take turns, so
that whatever slows the machine for a while slows them all.
"""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"


class CannotMeasure(Exception):
    """What was to be measured could not be; why, in a sentence for a person."""
