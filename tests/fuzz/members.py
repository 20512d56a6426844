"""The room with accounts, as ACCT in PROTOCOL.md tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fuzz.room import HELP, Peer, Room

HELP_WITH_ACCOUNTS = HELP.replace(
    b"/quit", b"/register PASSWORD, /passwd PASSWORD, /unregister, /quit"
)


@dataclass(eq=False)
class Account:
    """A new one for each change of the password: what was proven before is no more (ACCT-5)."""

    password: bytes


class Members(Room):
    """A room in which names can be kept by passwords."""

    def __init__(
        self,
        operator: str,
        most: int,
        quiet: bool,
        passwords: Mapping[str, str],
        members_only: bool,
    ) -> None:
        super().__init__(operator, most, quiet)
        self.members_only = members_only
        self.accounts = {
            name.encode(): Account(password.encode()) for name, password in passwords.items()
        }
        self.wanted: dict[Peer, bytes] = {}  # the name whose password one is asked for
        self.wrong: dict[Peer, int] = {}  # passwords
        self.proven: dict[Peer, Account] = {}

    def _line(self, peer: Peer, line: bytes, error: bytes) -> None:
        if peer in self.wanted:
            self._gives_password(peer, line, error)
        else:
            super()._line(peer, line, error)

    def _is_named(self, peer: Peer, name: bytes, error: bytes) -> None:
        if not (error or self._name_error(peer, name)) and self._account(name):  # ACCT-1
            self.wanted[peer] = name
            self.sent[peer.who] += b"Password: "
        else:
            super()._is_named(peer, name, error)

    def _gives_password(self, peer: Peer, line: bytes, error: bytes) -> None:
        """ACCT-2, ACCT-3, ACCT-4."""
        account = self._account(self.wanted[peer])
        if not error and account and account.password == line:
            self.proven[peer] = account
            super()._is_named(peer, self.wanted.pop(peer), b"")
            return
        self._tells(peer, error or b"! wrong password")
        self.wrong[peer] = self.wrong.get(peer, 0) + 1
        if self.wrong[peer] == 3:
            self._tells(peer, b"! too many attempts")
            del self.peers[peer.who]
        else:
            self.sent[peer.who] += b"Password: "

    def _name_error(self, peer: Peer, name: bytes) -> bytes:
        error = super()._name_error(peer, name)
        if not error and self.members_only and not self._account(name):  # ACCT-6
            return b"! name not registered: " + name
        return error

    # Commands

    def _commands(self, peer: Peer) -> dict[bytes, Callable[[Peer, bytes], None]]:
        if peer.who == self.operator:
            return super()._commands(peer)
        return super()._commands(peer) | {
            b"help": lambda peer, _: self._tells(peer, HELP_WITH_ACCOUNTS),
            b"register": self._register,
            b"passwd": self._passwd,
            b"unregister": self._unregister,
        }

    def _nick(self, peer: Peer, rest: bytes) -> None:
        name = rest.strip(b" \t")
        is_kept = self._account(name) and not self._has_proven(peer, name)
        if is_kept and not self._name_error(peer, name):  # ACCT-11
            self._tells(peer, b"! name registered: " + name)
        else:
            super()._nick(peer, rest)

    def _register(self, peer: Peer, rest: bytes) -> None:
        if self._account(peer.name):  # ACCT-7
            self._tells(peer, b"! already registered: " + peer.name)
        else:
            self._sets(peer, rest.lstrip(b" "), b"Registered " + peer.name)

    def _passwd(self, peer: Peer, rest: bytes) -> None:
        if not self._has_proven(peer, peer.name):  # ACCT-8
            self._tells(peer, b"! not registered: " + peer.name)
        else:
            self._sets(peer, rest.lstrip(b" "), b"Password changed")

    def _unregister(self, peer: Peer, _: bytes) -> None:
        if not self._has_proven(peer, peer.name):  # ACCT-9
            self._tells(peer, b"! not registered: " + peer.name)
        else:
            del self.accounts[peer.name.lower()]
            self._tells(peer, b"Unregistered " + peer.name)

    def _sets(self, peer: Peer, password: bytes, reply: bytes) -> None:
        if not 8 <= len(password) <= 72:  # ACCT-10
            self._tells(peer, b"! password must be 8 to 72 bytes")
            return
        self.accounts[peer.name.lower()] = self.proven[peer] = Account(password)
        self._tells(peer, reply)

    def _account(self, name: bytes) -> Account | None:
        return self.accounts.get(name.lower())

    def _has_proven(self, peer: Peer, name: bytes) -> bool:
        account = self._account(name)
        return account is not None and self.proven.get(peer) is account
