"""The actors: what each kind can do and see, and the table of all kinds.

Read from the base up: `missed` (a step that does not come true), `stream` (one stream of lines),
`base` (every actor), then `connection`, and `running`, `on_screen`, `meters`, `scratch`, `program`.
"""

from collections.abc import Mapping

from conformance.model import ActorKind
from conformance.play.actors.base import Actor
from conformance.play.actors.connection import ScriptedServer, Wire
from conformance.play.actors.program import ProgramActor

ACTORS: Mapping[ActorKind, type[Actor]] = {
    ActorKind.SERVER: ProgramActor,
    ActorKind.CLIENT: ProgramActor,
    ActorKind.WIRE: Wire,
    ActorKind.SCRIPTED: ScriptedServer,
}
