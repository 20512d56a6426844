"""A shell with job control, in which a program is a command. This module starts nothing."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from conformance.play.terminals.launch import Launch

PROMPT = "$ "

# Nothing from the user's own settings: no history, no other prompt, no timeout without input.
_SETTINGS = f"""\
PS1='{PROMPT}'
unset HISTFILE PROMPT_COMMAND PS0 TMOUT
bind 'set enable-bracketed-paste off'
"""


def in_shell(launch: Launch, command: str, folder: Path) -> Launch:
    """Launch a shell instead of the program, which is a command of this name in the shell.

    The command replaces itself by the program, in the same process, so that the shell's job control
    acts on the program. The files that the shell needs are written into `folder`.
    """
    script = folder / command
    script.write_bytes(os.fsencode(f'#!/bin/sh\nexec {launch} "$@"\n'))
    script.chmod(0o700)
    settings = folder / "settings"
    # Not by PATH: the name of a folder there cannot hold a `:`.
    settings.write_bytes(os.fsencode(f"{_SETTINGS}hash -p {shlex.quote(str(script))} {command}\n"))
    return replace(launch, argv=["bash", "--noprofile", "--rcfile", str(settings), "-i"])
