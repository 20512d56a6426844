"""What a session is: who does what, step by step. Nothing is played here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OPERATOR = "operator"  # who types at the server itself
LOG = "log"  # what the server writes there
WITNESS = "witness"  # is in the room before all others, and takes no part but to prove things
# The paths of files, among the options.
LOG_FILE = "{log}"
ACCOUNTS = "{accounts}"
# The accounts in that file, by name.
PASSWORDS = {name: f"{name}-secret" for name in ("witness", "ann", "bob", "dan", "eve")}
USERS = ("ann", "bob", "cat")  # connections; which names they give is another matter


class Does(StrEnum):
    """What somebody does. One who is not connected connects first."""

    CONNECTS = "connects"  # and no more
    SENDS = "sends"
    ENDS = "ends"  # its side of the connection
    RESETS = "resets"


@dataclass(frozen=True)
class Act:
    """One thing that one of them does."""

    who: str
    does: Does
    data: bytes = b""  # that it sends
    cuts: tuple[int, ...] = ()  # where in the data a new packet begins


# The acts of one step are done at the same time; mostly there is one.
Step = tuple[Act, ...]


def is_mingled(step: Step) -> bool:
    """Whether several do something in it: whose comes first is left open."""
    return len({act.who for act in step}) > 1


@dataclass(frozen=True)
class Session:
    """Steps, and the options that the server is started with."""

    options: tuple[str, ...]
    steps: tuple[Step, ...]

    def whole(self) -> tuple[Step, ...]:
        """Its steps and those that leave the room as it was, for the next session."""
        users = sorted({act.who for step in self.steps for act in step} - {OPERATOR})
        leaving = (Act(who, Does.ENDS) for who in users)
        return (*self.steps, *((act,) for act in (Act(OPERATOR, Does.SENDS, b"\n"), *leaving)))
