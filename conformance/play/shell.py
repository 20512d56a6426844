"""A shell with job control, in which a program is a command. It starts nothing."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from conformance.play.launch import Launch

PROMPT = "$ "

# Nothing of the user's own shell: no history, no other prompt, no end after a time without input.
_SETTINGS = f"""\
PS1='{PROMPT}'
unset HISTFILE PROMPT_COMMAND PS0 TMOUT
bind 'set enable-bracketed-paste off'
"""


def in_shell(launch: Launch, command: str, folder: Path) -> Launch:
    """A shell in place of the program, which it then knows as a command of this name.

    The command becomes the program itself, in the same process: what the shell does to its job, it
    does to the program. What the shell needs is written into the folder.
    """
    script = folder / command
    script.write_text(f'#!/bin/sh\nexec {launch} "$@"\n')
    script.chmod(0o700)
    settings = folder / "settings"
    settings.write_text(f"{_SETTINGS}PATH={shlex.quote(str(folder))}:$PATH\n")
    return replace(launch, argv=["bash", "--noprofile", "--rcfile", str(settings), "-i"])
