"""The room as PROTOCOL.md tells it: what everybody is to see. Written from the text alone.

It leaves out `--rate`, and the limits of memory and time; accounts are in members.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

PROMPT = b"Enter your screen name: "
HELP = b"Commands: /help, /who, /msg NAME TEXT, /nick NAME, /quit (// to begin a message with /)"
OPERATOR_HELP = b"Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)"
CONTROL = re.compile("[\0-\x08\n-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # FRAME-6
NAME = re.compile(rb"[A-Za-z0-9_-]{1,32}")  # JOIN-2
ALWAYS_IN_USE = (b"server", b"password")  # JOIN-3


@dataclass(eq=False)
class Peer:
    """One who is connected, or the operator."""

    who: str
    name: bytes = b""  # empty: it has not joined
    inbox: bytes = b""  # what has no line end yet
    refused: int = 0  # names


def wrong_with(line: bytes) -> bytes:
    """FRAME-4, FRAME-5, FRAME-6, in that order; nothing: the line is good."""
    if len(line) > 1024:
        return b"! line too long (limit 1024 bytes)"
    try:
        return b"! control characters are not allowed" if CONTROL.search(line.decode()) else b""
    except UnicodeDecodeError:
        return b"! not valid UTF-8"


class Room:
    """Who is there, and what they were sent since that was last asked for."""

    def __init__(self, operator: str, most: int = 10000, quiet: bool = False) -> None:
        self.most = most  # connections (LIMIT-2)
        self.quiet = quiet  # LOG-1
        self.peers = {operator: Peer(operator, b"server")}
        self.operator = operator
        self.sent: dict[str, bytes] = defaultdict(bytes)

    def news(self) -> dict[str, bytes]:
        """What each of them has been sent since the last time."""
        sent, self.sent = dict(self.sent), defaultdict(bytes)
        return sent

    # What anybody does

    def connects(self, who: str) -> None:
        if len(self.peers) - 1 >= self.most:
            self.sent[who] += b"! server full\n"
        else:
            self.peers[who] = Peer(who)
            self.sent[who] += PROMPT  # JOIN-1

    def sends(self, who: str, data: bytes) -> None:
        """FRAME-3: only lines count."""
        if peer := self.peers.get(who):
            *lines, peer.inbox = (peer.inbox + data).split(b"\n")
            for line in lines:
                self._hears(peer, line.removesuffix(b"\r"))  # FRAME-2

    def goes(self, who: str) -> None:
        """It ends its side, or resets the connection (LEAVE-1, FRAME-8)."""
        if peer := self.peers.get(who):
            self._loses(peer)

    # What comes of a line

    def _hears(self, peer: Peer, line: bytes) -> None:
        if self.peers.get(peer.who) is not peer:  # LEAVE-4: what still comes is not acted on
            return
        self._line(peer, line, wrong_with(line))

    def _line(self, peer: Peer, line: bytes, error: bytes) -> None:
        if not peer.name:
            self._is_named(peer, line.strip(b" \t"), error)
        elif error:
            self._tells(peer, error)
        elif line.startswith(b"/") and not line.startswith(b"//"):
            word, _, rest = line[1:].partition(b" ")
            self._commands(peer).get(word.lower(), self._unknown(word))(peer, rest)
        elif line.strip(b" \t"):  # FRAME-7, CHAT-1, CHAT-5
            self._all(peer.name + b": " + line.removeprefix(b"/"), but=peer)

    def _is_named(self, peer: Peer, name: bytes, error: bytes) -> None:
        if error := error or self._name_error(peer, name):
            peer.refused += 1
            self._tells(peer, error)
            if peer.refused == 5:  # JOIN-7
                self._tells(peer, b"! too many attempts")
                del self.peers[peer.who]
            else:
                self.sent[peer.who] += PROMPT
            return
        self._all(name + b" has joined the chat")
        peer.name = name
        self._tells(peer, b"Welcome, %s (%d online). Type /help for commands." % self._count(name))

    def _name_error(self, peer: Peer, name: bytes) -> bytes:
        if not NAME.fullmatch(name):
            return b'! invalid name: use 1 to 32 letters, digits, "_" or "-"'
        owner = self._find(name)
        mine_in_another_case = owner is peer and name != peer.name
        if name.lower() in ALWAYS_IN_USE or (owner and not mine_in_another_case):
            return b"! name in use: " + name
        return b""

    # Commands

    def _commands(self, peer: Peer) -> dict[bytes, Callable[[Peer, bytes], None]]:
        if peer.who == self.operator:
            return {b"help": self._help, b"who": self._who, b"kick": self._kick}
        return {
            b"help": self._help,
            b"who": self._who,
            b"msg": self._msg,
            b"nick": self._nick,
            b"quit": self._quit,
        }

    def _unknown(self, word: bytes) -> Callable[[Peer, bytes], None]:
        return lambda peer, _: self._tells(peer, b"! unknown command: /%s (try /help)" % word)

    def _help(self, peer: Peer, _: bytes) -> None:
        self._tells(peer, OPERATOR_HELP if peer.who == self.operator else HELP)

    def _who(self, peer: Peer, _: bytes) -> None:
        """CMD-2."""
        names = sorted([one.name for one in self._users()], key=lambda name: name.lower())
        head = b"Online (%d): " % len(names)
        line = head + b", ".join(names[:1])
        for name in names[1:]:
            if len(line + b", " + name) > 1024:
                self._tells(peer, line)
                line = head + name
            else:
                line += b", " + name
        self._tells(peer, line)

    def _msg(self, peer: Peer, rest: bytes) -> None:
        name, _, text = rest.lstrip(b" ").partition(b" ")
        other = self._find(name)
        if not name or not text.strip(b" \t"):  # CMD-7
            self._tells(peer, b"! usage: /msg NAME TEXT")
        elif other is None:
            self._tells(peer, b"! no such user: " + name)
        elif other is peer:
            self._tells(peer, b"! cannot message yourself")
        else:
            self._tells(other, b"(private) %s: %s" % (peer.name, text.lstrip(b" ")))

    def _nick(self, peer: Peer, rest: bytes) -> None:
        name = rest.strip(b" \t")
        if error := self._name_error(peer, name):
            self._tells(peer, error)
        else:
            old, peer.name = peer.name, name
            self._all(old + b" is now known as " + name)

    def _quit(self, peer: Peer, _: bytes) -> None:
        self._tells(peer, b"Goodbye, " + peer.name)
        self._loses(peer)

    def _kick(self, peer: Peer, rest: bytes) -> None:
        name = rest.strip(b" \t")
        other = self._find(name)
        if not name:
            self._tells(peer, b"! usage: /kick NAME")
        elif other is None:
            self._tells(peer, b"! no such user: " + name)
        else:
            self._tells(other, b"! kicked by the operator")
            self._loses(other)

    # Who is there, and what they are sent

    def _users(self) -> list[Peer]:
        return [one for one in self.peers.values() if one.name and one.who != self.operator]

    def _count(self, name: bytes) -> tuple[bytes, int]:
        return name, len(self._users())

    def _find(self, name: bytes) -> Peer | None:
        return next((one for one in self._users() if one.name.lower() == name.lower()), None)

    def _tells(self, peer: Peer, line: bytes) -> None:
        self.sent[peer.who] += line + b"\n"

    def _all(self, line: bytes, but: Peer | None = None) -> None:
        """The operator, too, sees what the room sees (LOG-1)."""
        for one in self._users():
            if one is not but:
                self._tells(one, line)
        if not self.quiet:
            self._tells(self.peers[self.operator], line)

    def _loses(self, peer: Peer) -> None:
        del self.peers[peer.who]
        if peer.name:
            self._all(peer.name + b" has left the chat")
