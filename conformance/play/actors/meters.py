"""Measures a running program: its memory, its processor time, its socket options."""

from __future__ import annotations

import math
import time

from conformance.model import Step
from conformance.play.actors.base import verb
from conformance.play.actors.missed import Missed
from conformance.play.actors.running import Running
from conformance.play.network.sockets import knows_option, seconds_to_notice, socket_options
from conformance.play.processes import system

_IDLE_SHARE = 0.1  # of a processor
# Of the time. On a busy machine, a thread that spins may get less of a processor than the above.
_READY_SHARE = 0.8


def _in_words(times: list[float]) -> str:
    if not times:
        return "no connection"
    longest = max(times)
    return "no keepalive (SO_KEEPALIVE)" if longest == math.inf else f"it ends after {longest:g} s"


class Metered(Running):
    """The verbs that measure."""

    @verb
    def has_socket_option(self, step: Step) -> None:
        pids = system.family(self.served_by.pid)  # a child may serve each connection
        for name, (least, most) in step.takes(dict).items():
            if not knows_option(name):
                raise Missed(f"a socket option {name}", "none of that name on this machine")
            values = socket_options(pids, name)
            if not values or not all(least <= value <= most for value in values):
                wanted = f"{least}" if least == most else f"{least} to {most}"
                seen = f"{values}" if values else "no connection"
                raise Missed(f"{name} = {wanted} on every connection", seen)
        self.did(f"has socket options {', '.join(step.takes(dict))}")

    @verb
    def notices_loss_within(self, step: Step) -> None:
        most = step.takes(float)
        times = seconds_to_notice(system.family(self.served_by.pid))
        if not times or max(times) > most:
            expected = f"every connection ends {most:g} s after its peer has vanished, or earlier"
            raise Missed(expected, _in_words(times))
        self.did(f"notices within {most:g} s that a peer has vanished")

    @verb
    def idles_for(self, step: Step) -> None:
        seconds = step.takes(float)
        used, ready = self._used_in(seconds)
        if used > _IDLE_SHARE:
            raise Missed(f"less than {_IDLE_SHARE:.0%} of a processor", f"{used:.0%}")
        # A second look, since a thread that waits for its turn once may only be unlucky.
        if ready > _READY_SHARE and self._used_in(seconds)[1] > _READY_SHARE:
            seen = f"it could always run, and got {used:.0%} of a busy processor"
            raise Missed("a program that waits for something", seen)
        self.did("idles")

    def _used_in(self, seconds: float) -> tuple[float, float]:
        """The share of a processor that the program uses, with its descendants, in this time.

        And the share of the time for which one of its threads runs or waits for a processor.
        """
        process, start = self.alive, time.monotonic()
        used, ready = system.cpu_seconds(process.pid), system.ready_seconds(process.pid)
        self.scene.loop.wait(lambda: not process.running, start + seconds)
        used, now = system.cpu_seconds(self.alive.pid) - used, system.ready_seconds(process.pid)
        lasted = time.monotonic() - start
        longest = max((now[one] - ready.get(one, 0.0) for one in now), default=0.0)
        return used / lasted, longest / lasted

    @verb
    def grows_less_than(self, step: Step) -> None:
        most = step.takes(int)
        grown = system.resident(self.served_by.pid) - self.memory_at_first
        if grown >= most:
            limit = f"grown by less than {most >> 10} KiB since it was ready"
            raise Missed(limit, f"grown by {grown >> 10} KiB")
        self.did("has not grown")
