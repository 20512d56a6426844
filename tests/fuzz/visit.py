"""What a visit is: what happens to a client, from its start to its end. Nothing is played here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PROMPT = b"Enter your screen name: "
ASKS = b"Password: "
NAME, SECRET = b"ann", b"ann-secret\n"
WELCOME = b"Welcome, %s (1 online). Type /help for commands.\n"


class Event(StrEnum):
    ACCEPTS = "the server accepts a connection"
    SAYS = "the server says"  # behind a welcome, where the client is away
    TYPES = "the user types"
    REFUSES = "the server refuses the name of one who comes back"
    CLOSES = "the server closes"
    RESETS = "the server resets"
    ENDS = "the user's input ends"


@dataclass(frozen=True)
class Happening:
    event: Event
    data: bytes = b""
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Visit:
    """What happens, and the options of the client."""

    happenings: tuple[Happening, ...]
    retries: int = 0
    delay: float = 0.01  # seconds
    name: bytes = b""  # that `--name` gives
    has_secret: bool = False  # the server asks for the password of NAME

    @property
    def options(self) -> dict[str, str]:
        name = {"name": self.name.decode()} if self.name else {}
        delay = {"retry-delay": f"{self.delay:f}"} if self.retries else {}
        return {"retries": str(self.retries), **delay, **name}
