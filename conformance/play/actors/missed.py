"""The exceptions that an actor raises if its step does not come true."""

from __future__ import annotations

from conformance.model import FailureKind


class Missed(Exception):
    """A step that did not come true, with the facts for the failure."""

    kind = FailureKind.STEP

    def __init__(
        self, expected: str, seen: str, reason: str = "", extra: bool = False, late: bool = False
    ) -> None:
        super().__init__(reason)
        self.expected = expected
        self.seen = seen
        self.reason = reason
        self.extra = extra  # something came that no step names, perhaps before the expected line
        self.late = late  # the deadline passed; with a longer wait, the step may still come true


class NeverReady(Missed):
    """A program that did not start, or did not get ready."""

    kind = FailureKind.START


class Lacking(Exception):
    """This machine lacks what a step needs; the text says what, where, and what to do."""


class Lingering(Lacking):
    """A port is not free yet, because connections of an earlier case linger."""
