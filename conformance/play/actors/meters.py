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
        seconds, process = step.takes(float), self.alive
        before = system.cpu_seconds(process.pid)  # of its children, too
        self.scene.loop.wait(lambda: not process.running, time.monotonic() + seconds)
        used = system.cpu_seconds(self.alive.pid) - before
        if used > seconds * _IDLE_SHARE:
            raise Missed(f"less than {_IDLE_SHARE:.0%} of a processor", f"{used / seconds:.0%}")
        self.did("idles")

    @verb
    def grows_less_than(self, step: Step) -> None:
        most = step.takes(int)
        grown = system.resident(self.served_by.pid) - self.memory_at_first
        if grown >= most:
            limit = f"grown by less than {most >> 10} KiB since it was ready"
            raise Missed(limit, f"grown by {grown >> 10} KiB")
        self.did("has not grown")
