"""The five loads: each runs a server, and yields its findings, the lines of the table.

It knows nothing of the command line, and writes no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.crowds.churn import Churn
from bench.crowds.crowd import Crowd
from bench.crowds.guests import Guest, Kind
from bench.crowds.room import PATIENCE, Room, connect, drain, enter
from bench.crowds.server import serving
from conformance.builds.build import Build

FULL_USERS, FULL_MINUTES = 10_000, 10.0
MIB = 1024 * 1024
QUEUE, HELD, SPARE = MIB, 64 * 1024, 64 * MIB  # LIMIT-1, LIMIT-4: queue, input, spare
AT_ONCE = 3.0  # seconds: what PROTOCOL.md allows the machine
LINE = b"0123456789 " * 90  # nearly as long as a line may be
HEAPED = 8  # users who never read, and get a private line before each line of the room
HEAP_QUEUE, HEAP_FILL = 8 * MIB, 6 * MIB  # limit of each; in the kernel
HEAP_ROUNDS = 1000  # rounds that are sent together
MOST_TEXT = 64 * MIB  # of lines in the room, until all users who never read must be dropped
TALK_ROUNDS = 10
SETTLE_SECONDS = 10.0
MORE_THREADS = 2  # Go's runtime may start more threads for system calls
ENDING = 5  # goroutines that may have closed their connection, but not ended yet


@dataclass(frozen=True, slots=True)
class Scale:
    """The numbers and durations of the loads."""

    users: int = FULL_USERS
    minutes: float = FULL_MINUTES
    join_timeout: float = 10.0

    @property
    def is_small(self) -> bool:
        """Whether this is a short trial: then times and small amounts of memory are not judged."""
        return self.users < FULL_USERS or self.minutes < FULL_MINUTES

    @property
    def readers(self) -> int:
        """The number of users who read; as many others never do."""
        return self.users // 10

    @property
    def guests(self) -> int:
        """The number of connections that never join."""
        return self.users // 2

    @property
    def heaps(self) -> int:
        """How many thousand times private lines alternate with a line of the room."""
        return max(1, 2 * self.users // 100)

    @property
    def endless(self) -> int:
        """The bytes of an endless line."""
        return 400 * self.users


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure, and whether it keeps the rules."""

    what: str
    value: str
    good: bool = True


def talking(build: Build, core: int, scale: Scale) -> Iterator[Finding]:
    """All users join at once; each says something, and all others receive it."""
    with serving(build, core) as server:
        before = server.resident()
        crowd = Crowd(server.port)
        crowd.join([f"u{number}" for number in range(scale.users - 1)])
        each = (server.resident() - before) / scale.users
        wave = -(-len(crowd.users) // TALK_ROUNDS)
        for first in range(0, len(crowd.users), wave):
            crowd.talk(crowd.users[first : first + wave], b"hello to all who are here")
        what = f"{scale.users:,} users"
        yield Finding(f"{what}: lost, or not as the room saw it", *_none(crowd.faults))
        yield Finding(f"{what}: deliveries compared", f"{len(crowd.users) * scale.users:,}")
        yield Finding(f"{what}: bytes of memory for each", f"{each:,.0f}")
        crowd.end(server.stop)
        end = server.has_ended()
        untold, good = _none(crowd.faults)  # even on a busy machine, STOP-3 leaves two seconds
        yield Finding(f"{what}: not told of the shutdown", untold, good or scale.is_small)
        yield Finding(f"{what}: the server", end, end == "exit status 0")


def ignoring(build: Build, core: int, scale: Scale) -> Iterator[Finding]:
    """Half of the users never read."""
    with serving(build, core) as server:
        before, stuck, crowd = server.resident(), [], Crowd(server.port)
        for number in range(scale.readers):
            stuck.append(connect(server.port, receive_buffer=4096))
            enter(stuck[-1], b"stuck%d" % number)
        crowd.join([f"u{number}" for number in range(scale.readers - 1)])
        slowest = 0.0
        while len(crowd.room.left) < len(stuck) and len(crowd.room.seen) < MOST_TEXT:
            slowest = max(slowest, crowd.talk(crowd.users[:100], LINE))
        grown, most = server.peak() - before, 2 * scale.readers * (QUEUE + HELD) + SPARE
        what = f"{scale.readers:,} beside as many who never read"
        yield Finding(f"{what}: lost, or not as the room saw it", *_none(crowd.faults))
        dropped = len(set(crowd.room.left))
        good = dropped == len(crowd.room.left) == len(stuck)
        yield Finding(f"{what}: of these, dropped", f"{dropped:,}", good)
        yield Finding(f"{what}: the slowest 100 kB", *_quick(slowest, scale))
        yield Finding(f"{what}: memory at the peak", f"{grown / MIB:.1f} MiB", grown <= most)


def heaping(build: Build, core: int, scale: Scale) -> Iterator[Finding]:
    """Short private lines alternate with lines of the room: the worst case that LIMIT-4 names.

    They take little room themselves, so that a server which does not count its bookkeeping for each
    of them needs many times the bound.
    """
    with serving(build, core, "--max-queue", str(HEAP_QUEUE)) as server:
        before, room = server.resident(), Room(server.port)
        stuck = [connect(server.port, receive_buffer=4096) for _ in range(HEAPED)]
        for number, one in enumerate(stuck):
            enter(one, b"s%d" % number)
        talker = connect(server.port)
        enter(talker, b"talker")
        talker.sendall((LINE + b"\n") * (HEAP_FILL // len(LINE)))
        rounds = HEAP_ROUNDS * (b"".join(b"/msg s%d x\n" % n for n in range(HEAPED)) + b"x\n")
        for count in range(1, scale.heaps + 1):
            talker.sendall(rounds)
            while len(room.own[b"talker"]) < HEAP_FILL // len(LINE) + count * HEAP_ROUNDS:
                room.wait()
            drain(talker)
        grown, most = server.peak() - before, (HEAPED + 2) * (HEAP_QUEUE + HELD) + SPARE
        what = f"{scale.heaps * HEAP_ROUNDS:,} private lines for each of {HEAPED} who never read"
        yield Finding(f"{what}: dropped", f"{len(room.left)} of {HEAPED}")
        yield Finding(f"{what}: memory at the peak", f"{grown / MIB:.1f} MiB", grown <= most)


def lurking(build: Build, core: int, scale: Scale) -> Iterator[Finding]:
    """Many clients that never join, beside 50 users who talk."""
    with serving(build, core, "--join-timeout", f"{scale.join_timeout:g}") as server:
        crowd = Crowd(server.port)
        crowd.join([f"u{number}" for number in range(49)])
        before = server.resident()
        kinds = list(Kind)
        guests = [
            Guest(kinds[number % 3], server.port, crowd.loop, scale.endless)
            for number in range(scale.guests)
        ]
        slowest = max(crowd.talk(crowd.users, b"beside many guests") for _ in range(50))
        crowd.loop.run(lambda: all(guest.seconds for guest in guests))
        grown, most = server.peak() - before, scale.guests * (QUEUE + HELD) + SPARE
        crowd.talk(crowd.users, b"all guests are gone")
        what = f"50 beside {scale.guests:,} who never join"
        yield Finding(f"{what}: lost, or not as the room saw it", *_none(crowd.faults))
        yield Finding(f"{what}: the slowest 50 lines", *_quick(slowest, scale))
        yield Finding(f"{what}: memory at the peak", f"{grown / MIB:.1f} MiB", grown <= most)
        for kind in kinds:
            some = [guest for guest in guests if guest.kind is kind]
            yield _ends(f"{len(some):,} {kind.value}", some, scale)


def passing(build: Build, core: int, scale: Scale) -> Iterator[Finding]:
    """Many clients that join and leave, for minutes."""
    seconds = scale.minutes * 60
    first = min(60.0, seconds / 2)
    with serving(build, core) as server:
        churn = Churn(server.port)
        descriptors = server.descriptors()
        churn.go_on(first)
        memory, threads = server.resident(), server.threads()
        churn.go_on(seconds - first)
        what = f"{scale.minutes:g} minutes of joins and leaves"
        yield Finding(f"{what}: connections", f"{churn.count:,}")
        yield Finding(f"{what}: notices that cannot be", *_none(["?"] * churn.wrong))
        good = server.settles(descriptors, SETTLE_SECONDS)
        after = server.descriptors()
        yield Finding(f"{what}: descriptors", f"{descriptors} → {after}", good)
        yield Finding(
            f"{what}: threads",
            f"{threads} → {server.threads()}",
            server.threads() <= threads + MORE_THREADS,
        )
        grown = server.resident() - memory
        most = SPARE if scale.is_small else churn.count  # bytes: less than one for each
        value = f"{memory / MIB:.2f} → {(memory + grown) / MIB:.2f} MiB"
        yield Finding(f"{what}: memory after {first:g} s, at the end", value, grown <= most)
        if build.implementation.language == "Go":
            usual, count = _goroutines(build, core), server.goroutines()
            yield Finding(f"{what}: goroutines", f"{usual} → {count}", count <= usual + ENDING)


def _goroutines(build: Build, core: int) -> int:
    """The goroutines of a server with one user, after another one has left."""
    with serving(build, core) as server:
        churn = Churn(server.port)
        descriptors = server.descriptors()
        churn.go_on(0)
        server.settles(descriptors, SETTLE_SECONDS)
        return server.goroutines()


def _none(faults: Sequence[str]) -> tuple[str, bool]:
    return (f"{len(faults):,}", not faults)


def _quick(seconds: float, scale: Scale) -> tuple[str, bool]:
    return f"{seconds:.2f} s", scale.is_small or seconds < AT_ONCE


def _ends(what: str, guests: Sequence[Guest], scale: Scale) -> Finding:
    """How many were ended as prescribed, neither too early nor too late."""
    must = 0.0 if scale.is_small else scale.join_timeout / 2
    late = scale.join_timeout + (PATIENCE if scale.is_small else AT_ONCE)
    good = [guest for guest in guests if guest.is_right(scale.join_timeout, late, must)]
    latest = max(guest.seconds for guest in guests)
    value = f"{len(good):,} (within {latest:.1f} s)"
    return Finding(f"{what}: timed out as the text says", value, len(good) == len(guests))


WORKS = (talking, ignoring, heaping, lurking, passing)
