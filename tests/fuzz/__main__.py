"""Play random sessions for some minutes; what is wrong becomes a scenario in build/fuzz."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from conformance.builds.build import Build
from fuzz.games import ROOT, Clients, Servers, builds
from fuzz.search import Found, search

FOLDER = ROOT / "build" / "fuzz"
FORKS = multiprocessing.get_context("fork")


@dataclass
class Run:
    """What the players share. Each has servers and clients, and seeds, of its own."""

    minutes: float
    players: int
    servers: dict[str, Build] = field(default_factory=lambda: builds("server"))
    clients: dict[str, Build] = field(default_factory=lambda: builds("client"))
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.totals = FORKS.Array("q", 4)  # sessions and steps, of servers and of clients
        self.over = FORKS.Event()

    def play(self, number: int) -> None:
        """Play until the time is over, or somebody has found something: status 1."""
        games: list[Servers | Clients] = [Servers(self.servers), Clients(self.clients)]
        try:
            while not self.over.is_set():
                for place, game in enumerate(games):
                    if found := search(game.sessions, game.play, number, game.batch):
                        self._tell(game, found, number)
                        sys.exit(1)
                    self._count(place, game)
                self._progress(number)
                number += self.players
                if time.monotonic() - self.started >= 60 * self.minutes:
                    break
        except KeyboardInterrupt:
            pass
        finally:
            for game in games:
                game.end()

    def _count(self, place: int, game: Servers | Clients) -> None:
        with self.totals.get_lock():
            self.totals[2 * place] += game.played
            self.totals[2 * place + 1] += game.steps
        game.played = game.steps = 0

    def _progress(self, number: int) -> None:
        """One line: on a terminal always the same one."""
        with self.totals.get_lock():
            totals = self.totals[:]
            rate = (totals[0] + totals[2]) / (time.monotonic() - self.started)
            parts = "servers: {} sessions, {} steps; clients: {} sessions, {} steps"
            line = f"{parts.format(*totals)}; {rate:.1f} sessions/s; seed {number}"
            start, end = ("\r", " ") if sys.stdout.isatty() else ("", "\n")
            print(f"{start}{line}", end=end, flush=True)

    def _tell(self, game: Servers | Clients, found: Found, number: int) -> None:
        self.over.set()
        path = FOLDER / f"seed-{number}.yaml"
        text = game.write(path, found.session, found.wrong)
        again = f"again: conformance run {path.relative_to(ROOT)}"
        print(f"\n{text}\n{again}\nor:    make fuzz SEED={number}", flush=True)


def fuzz(run: Run, number: int) -> int:
    """Let all play, and wait for them."""
    players = [
        FORKS.Process(target=run.play, args=(number + place,)) for place in range(run.players)
    ]
    for player in players:
        player.start()
    for player in players:
        while player.exitcode is None:
            with suppress(KeyboardInterrupt):  # they have it, too
                player.join()
    return max(bool(player.exitcode) for player in players)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None, help="the same sessions again")
    processors = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=processors, help="how many play at a time")
    arguments = parser.parse_args()
    number = random.randrange(10**9) if arguments.seed is None else arguments.seed
    return fuzz(Run(arguments.minutes, arguments.jobs), number)


if __name__ == "__main__":
    sys.exit(main())
