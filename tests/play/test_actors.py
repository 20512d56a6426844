"""The table of actors: each kind has a class, and each of its verbs has a method."""

from __future__ import annotations

import pytest

from conformance.model import ActorKind
from conformance.play.actors import ACTORS
from conformance.read.verbs import VERBS, Effect

NO_STEPS = (Effect.ENTERS, Effect.LEAVES, Effect.FENCES)


@pytest.mark.parametrize("kind", ActorKind)
def test_an_actor_plays_the_verbs_that_its_kind_may_use_and_no_other(kind: ActorKind) -> None:
    played = [verb for verb in VERBS.values() if verb.effect not in NO_STEPS]
    assert set(ACTORS[kind].verbs) == {verb.name for verb in played if kind in verb.kinds}
