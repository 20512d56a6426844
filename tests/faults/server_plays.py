"""A fault in a server: ann and bob talk during the fault and afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from chat import SECRET, Server, User
from heard import Heard
from play import Play
from table import Cell

from conformance.builds.build import Build

CANNOT, REGISTERED = "! accounts cannot be changed now", "Registered ann"


class ServerPlay(Play):
    """One server with two users."""

    def __init__(self, build: Build, cell: Cell, folder: Path) -> None:
        super().__init__(build, cell, folder)
        self.program = self.server = Server(build, folder)
        self.mark = 0  # number of lines sent to the room when the fault ended
        self.logs_error = False  # whether the log must contain an error
        self.scenes |= {
            "arrives": self.arrives,
            "speaks": self.talks,
            "hears": self.talks,
            "talks": self.talks,
            "quits": self.quits,
            "operates": self.operates,
            "hangs up": self.hangs_up,
            "registers": self.registers,
        }

    def place(self) -> str:
        on, accounts = self.cell.row.file, str(self.server.accounts)
        files = {"log": str(self.server.log), "accounts": accounts, "folder": str(self.folder)}
        files |= {"new": f"{accounts}.new", "lock": f"{accounts}.lock", "/dev/null": "/dev/null"}
        if on in files:
            return files[on]
        return self.server.stream(on) if on.startswith("std") else self.server.socket_of(on)

    def message(self) -> str:
        return self.cell.row.message.format(log=self.server.log, accounts=self.server.accounts)

    def begins(self) -> bool:
        if not self.server.start(self.strace):
            return False
        self.joins_both()
        self.afterwards()
        return True

    def settle(self) -> None:
        assert self.server.start(), self.server.err.text
        self.joins_both()

    def joins_both(self) -> None:
        for name in ("ann", "bob"):
            self.server.joins(name)

    def afterwards(self) -> None:
        server = self.server
        self.mark = len(server.said)
        if "ann" not in server.room:
            server.joins("ann")
        server.talk("all is well")
        server.joins("cyd")
        server.talk("afterwards")
        if self.fate == "refused":
            self.asks_to_register(REGISTERED)
        server.ends()
        assert not self.logs_error or '"ERROR"' in server.log.read_text(), "no error in the log"
        self.judge_lines(server.shown(), server.said, "stdout")
        self.judge_lines(server.logged(), [line for line in server.said if ": " in line], "log")

    def judge_lines(self, seen: list[str], said: list[str], place: str) -> None:
        """Each line must be there once, except those that a fault of this file has lost."""
        if self.cell.row.file == place and self.fate in ("unlogged", "starts"):
            after = [line for line in self.server.said[self.mark :] if line in said]
            after = [] if self.cell.starts else after  # the fault lasts to the end
            assert seen[len(seen) - len(after) :] == after, (
                f"{place} has {seen}, which lacks some of {after}"
            )
            assert len(seen) == len([line for line in seen if line in said]), f"{place} has {seen}"
        elif self.cell.row.does == "operates" and self.fate == "either":
            assert [line for line in seen if "server" not in line] == [
                line for line in said if "server" not in line
            ]
        else:
            assert seen == said, f"{place} has {seen}, not {said}"

    # During the fault.

    def talks(self) -> None:
        if self.fate == "lost":
            self.loses_ann()
            return
        for number in range(3):
            self.server.talk(f"round {number}")
        if self.fate == "unlogged":
            assert self.server.err.until("lost"), "standard error does not say that lines are lost"
            assert self.server.err.text.count("lost") == 1, self.server.err.text

    def loses_ann(self) -> None:
        """A call on ann's connection fails: bob sees her leave, once."""
        room = self.server.room
        if self.cell.row.does == "speaks":
            room["ann"].types("hello")
        else:
            room["bob"].types("hello")
            self.server.said.append("bob: hello")
        ann = room.pop("ann")
        self.server.others_see("ann", "ann has left the chat")
        ann.close()

    def arrives(self) -> None:
        """A user joins while two talk."""
        if self.fate == "later":
            self.arrives_late()
        else:
            self.server.joins("dan")
            self.server.talk("with dan")
            self.server.leaves("dan")

    def arrives_late(self) -> None:
        """A user is not served until the fault has ended."""
        newcomer = User(self.server.port, "dan")
        self.server.talk("while it lasts")
        assert self.strace.has_failed(), "no call failed"
        self.server.talk("still")
        self.strace.passes()
        if newcomer.is_asked():
            self.server.enters(newcomer)
            self.server.leaves("dan")
        else:
            newcomer.close()

    def quits(self) -> None:
        ann = self.server.room.pop("ann")
        ann.types("/quit")
        ann.sees("Goodbye, ann")
        self.server.others_see("ann", "ann has left the chat")
        ann.is_closed()

    def operates(self) -> None:
        """The operator sends an announcement; after an error that lasts, it may be lost."""
        for line in ("attention", "again"):
            self.server.reads(line)
            if self.fate == "served":
                self.server.others_see("", f"server: {line}")

    def hangs_up(self) -> None:
        """SIGHUP: log and accounts are opened again, or the old ones stay in force."""
        tail = subprocess.Popen(["tail", "-n", "+1", "-f", self.server.log], stdout=subprocess.PIPE)
        try:
            assert tail.stdout
            descriptor = tail.stdout.fileno()
            log = Heard(lambda size: os.read(descriptor, size))
            self.server.process.send_signal(signal.SIGHUP)
            if self.fate == "kept" and self.strace.has_failed():
                assert log.until('"ERROR"'), f"no error in the log: {log.text}"
        finally:
            tail.kill()
            tail.communicate()
        self.server.talk("after SIGHUP")
        self.server.joins("eve", SECRET)
        self.server.leaves("eve")

    def registers(self) -> None:
        """The registration succeeds, or is refused and leaves the file as it was."""
        before = self.server.accounts.read_bytes()
        if self.fate == "either":
            self.server.room["ann"].types("/register 12345678")
            answer = self.server.room["ann"].next()
        else:
            answer = CANNOT if self.fate == "refused" else REGISTERED
            self.asks_to_register(answer)
        after = self.server.accounts.read_bytes()
        if answer == CANNOT:
            assert after == before, "the file has changed"
            self.logs_error = True
        else:
            assert after.startswith(before + b"ann:$2y$"), f"the file has {after!r}"

    def asks_to_register(self, answer: str) -> None:
        self.server.room["ann"].types("/register 12345678")
        self.server.room["ann"].sees(answer)
        self.server.talk("registered or not")
