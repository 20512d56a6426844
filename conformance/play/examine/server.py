"""Examines a server: whether it starts, prints its ready line, listens, and ends."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.arguments import Ready, named_port, with_port
from conformance.builds.build import Build
from conformance.model import Medium, Program
from conformance.play.actors.program import IN_USE
from conformance.play.case.poll import Source
from conformance.play.examine.bench import (
    CTRL_C,
    ENDED,
    TOLD,
    UP,
    Bench,
    Finding,
    Started,
    came,
    examine,
    is_told,
    lines,
    quoted,
)
from conformance.play.network.sockets import has_listener
from conformance.play.processes import system
from conformance.play.processes.process import ending
from conformance.text import plain

FLUSH = "flush standard output after the line: fflush(stdout), print(..., flush=True)"
PRINT = "print it when connections are accepted, or set `ready` in its manifest to what it prints"
TAKE = "accept them, ignore unknown options, or set `arguments` in its manifest"
STAY = "run it in the foreground; a server often has an option for that, such as --foreground or -D"
FREE = "bind to port 0 and ask the socket for its port, or set `port` in its manifest"


def examine_server(build: Build, program: Program, seconds: float) -> list[Finding]:
    """All findings about a server, which runs once at a terminal and once with pipes.

    The first is ended by Ctrl+C, the other by SIGTERM.
    """

    def look(bench: Bench, media: Sequence[Medium]) -> bool:
        return Server.of(bench).examine(media)

    return examine(build, program, seconds, look, alone=not is_told(build, program, "port"))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A server that was started."""

    started: Started
    medium: Medium

    @property
    def through(self) -> str:
        """The beginning of a finding: `through a pipe, `, or empty."""
        return "through a pipe, " if self.medium is Medium.PIPES else ""


@dataclass(frozen=True, slots=True)
class _Up:
    """A server that is ready."""

    begun: _Begun
    port: int


@dataclass(frozen=True, slots=True)
class Server:
    """One examination of a server."""

    bench: Bench
    says: Ready  # how it announces that it is ready

    @classmethod
    def of(cls, bench: Bench) -> Server:
        """The examination of the server on a bench; its manifest may override the ready line."""
        own = bench.build.implementation.ready
        return cls(bench, bench.program.ready if own is None else own)

    def examine(self, media: Sequence[Medium]) -> bool:
        """Start a server on each medium, and do each phase with all of them."""
        started = [(self.bench.start(medium), medium) for medium in media]
        begun = [_Begun(one, medium) for one, medium in started if one]
        for one in begun:
            self._see_it_settle(one)
        # If only one of them can have the port, the other ends. Examine that one last.
        begun.sort(key=lambda one: bool(self._source(one.started).end))
        ups: list[_Up] = []
        for one in begun:
            up = self._ready(one, ups[0] if ups else None)
            if up is None:
                break  # the other media would show the same problem
            ups.append(up)
        self.bench.is_up()
        ends = [] if self.bench.program.interrupted is None else ups
        since = time.monotonic()
        for up in ends:
            self._ask_to_end(up)
        for up in ends:
            self._see_it_end(up, since)
        return bool(ups)

    # --- Ready ---

    def _ready(self, begun: _Begun, beside: _Up | None) -> _Up | None:
        """Wait until it is ready; if it is not, add a finding and return None."""
        port = self.port(begun.started, UP)
        if port is None:
            self._find_why(begun, beside)
            return None
        up = _Up(begun, port)
        self._see_where_it_listens(up, beside)
        return up

    def _see_it_settle(self, begun: _Begun) -> None:
        """Wait for its ready line, for another line, or for its end."""
        source = self._source(begun.started)
        if self.says.line:
            self.bench.comes(lambda: self._is_settled(source), UP)

    def _is_settled(self, source: Source) -> bool:
        return bool(self._named(source) or source.end or (self.says.first and lines(source)))

    def port(self, started: Started, share: float) -> int | None:
        """The port that its ready line names, or else the port at which it listens."""
        source = self._source(started)
        if not self.says.line:
            return self._listens(started, share)
        self.bench.comes(lambda: self._is_settled(source), share)
        if named := self._named(source):
            port = named.groupdict().get("port")
            return self._listens(started, share) if port is None else named_port(port)
        return None

    def _source(self, started: Started) -> Source:
        errors = started.process.errors if self.says.in_errors else None
        return errors or started.process.output

    @property
    def _line(self) -> str:
        """The ready line, with a placeholder for the port."""
        assert self.says.line
        return plain(str(self.says.line.filled({"host": self.bench.scene.host})))

    def _named(self, source: Source) -> re.Match[str] | None:
        """The match of the ready line, if it has come: as the first line, or as any line."""
        assert self.says.line
        pattern = with_port(self.says.line.filled({"host": self.bench.scene.host}))
        some = lines(source)[:1] if self.says.first else lines(source)
        return next(filter(None, map(pattern.fullmatch, some)), None)

    def _listens(self, started: Started, share: float) -> int | None:
        """The port of a server that announces none. It polls: no event tells of a new listener."""
        process = started.process
        for _ in system.looks(self.bench.by(share)):
            if port := next(system.listening_ports(process.pid), None):
                return port
            if not process.running:
                break
            self.bench.scene.loop.look_again()
        return None

    # --- Why it is not ready ---

    def _find_why(self, begun: _Begun, beside: _Up | None) -> None:
        source, process = self._source(begun.started), begun.started.process
        if self.says.line and (named := self._named(source)) and "port" in named.groupdict():
            what = f"its ready line names no port from 1 to 65535: {quoted(named[0])}"
            self.bench.find(begun.through + what, "print the port of the socket")
        elif source.end and self.bench.comes(lambda: not process.running, TOLD):
            self._find_why_it_ended(begun, beside)
        elif self.says.first and (said := lines(source)):
            self.bench.find(
                f"{begun.through}the first line is {quoted(said[0])}, not `{self._line}`", PRINT
            )
        elif self.says.line and "\n" not in came(source) and came(source):
            what = f"{begun.through}there is no line end after {quoted(came(source))}"
            self.bench.find(what, "write it together with the line")
        else:
            self._find_why_it_is_silent(begun)

    def _find_why_it_ended(self, begun: _Begun, beside: _Up | None) -> None:
        started, words = begun.started, begun.started.last_words
        if IN_USE.search(came(started.process.errors) + came(started.process.output)):
            what = f"with port 0, it listens at port {beside.port} each time" if beside else ""
            self.bench.find((what or "its port is in use") + words, FREE)
            return
        how = ending(started.process.status or 0)
        usual = " ".join(f"--{name}" for name in self.bench.program.options or {})
        if usual and self.bench.build.implementation.arguments is None:
            other = self.bench.start(Medium.TERMINAL, with_options=False)
            if other and self.port(other, TOLD) is not None:
                self.bench.find(f"it does not start with {usual}{words}", TAKE)
                return
        what = f"{begun.through}it ends before it is ready, with {how}{words}"
        again = f"run it as a case does: {started.command}"
        in_background = f"if it goes into the background, {STAY}; else {again}"
        self.bench.find(what, again if started.process.status else in_background)

    def _find_why_it_is_silent(self, begun: _Begun) -> None:
        """Find out whether it never prints the line, or buffers it until its end."""
        process, source = begun.started.process, self._source(begun.started)
        if process.status == 0:
            what = "its first process ends, and another one goes on in the background"
            self.bench.find(what, STAY)
            return
        port = next(system.listening_ports(process.pid), None)
        where = f"listens at port {port}" if port else "listens nowhere"
        where, within = begun.through + f"it {where}", f"within {self.bench.start_seconds:g} s"
        if not self.says.line:
            self.bench.find(f"{where} {within}", "listen at the port on its command line")
            return
        process.signal("SIGINT")
        self.bench.comes(lambda: source.end, TOLD)
        if self._named(source):
            self.bench.find(f"{begun.through}its ready line comes only when it ends", FLUSH)
        else:
            self.bench.find(f"{where}, but prints no line `{self._line}` {within}", PRINT)

    # --- Where it listens ---

    def _see_where_it_listens(self, up: _Up, beside: _Up | None) -> None:
        found = list(system.listening(up.begun.started.process.pid))
        ports = {port for _, port in found}
        if up.port not in ports and self._is_in_background(up):
            self.bench.find("it goes into the background: its first process ends", STAY)
        elif up.port not in ports:
            at = "listens at another" if ports else "listens at none"
            what = f"it announces port {up.port}, but {at}"
            self.bench.find(what, "listen first, then print the port of the socket")
        elif beside and beside.port == up.port:
            self.bench.find(f"with port 0, it listens at port {up.port} each time", FREE)
        if not is_told(self.bench.build, self.bench.program, "host"):
            return
        for ip, port in found:
            if port == up.port and not _is_the_same(ip, self.bench.scene.host):
                what = f"it listens at {ip}, instead of {self.bench.scene.host}"
                self.bench.find(what, "bind to the host on its command line, and to no other")

    def _is_in_background(self, up: _Up) -> bool:
        """Whether it has ended with success, and a process that it has left listens at its port."""
        process = up.begun.started.process
        if not has_listener(self.bench.scene.host, up.port):
            return False
        return self.bench.comes(lambda: not process.running, TOLD) and process.status == 0

    # --- Its end ---

    def _ask_to_end(self, up: _Up) -> None:
        """Press Ctrl+C at its terminal, or send SIGTERM to the process that listens."""
        started = up.begun.started
        if up.begun.medium is Medium.TERMINAL:
            started.press(CTRL_C)
            return
        listener = None
        if self.bench.build.implementation.children:
            listener = system.listener(started.process.pid, up.port)
        (listener or started.process).signal("SIGTERM")

    def _see_it_end(self, up: _Up, since: float) -> None:
        """Check how it ends, and that it has printed nothing but the ready line."""
        at_terminal, process = up.begun.medium is Medium.TERMINAL, up.begun.started.process
        self.bench.see_end(process, "Ctrl+C" if at_terminal else "SIGTERM", since)
        if not (at_terminal and self.says.first):
            return
        self.bench.comes(lambda: process.output.end, ENDED)
        if more := lines(process.output)[1:]:
            what = f"it prints more on standard output: {quoted(more[0])}"
            self.bench.find(what, "print only the ready line there; standard error is free")


def _is_the_same(ip: str, host: str) -> bool:
    """Whether two addresses are equal. Some languages show IPv4 addresses as mapped into IPv6."""
    found, wanted = ipaddress.ip_address(ip), ipaddress.ip_address(host)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found) == wanted
