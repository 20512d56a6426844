#!/usr/bin/env python3
"""A chat client for a terminal or a pipe. PROTOCOL.md is its contract.

    python client.py                       connects to localhost:8080
    python client.py --help                tells the rest

    keyboard -> [editor] -> outbox -> server
    server -> screen, above the line in the editor

and of a connection, where one that is lost is tried again:

    ASKED -> JOINED -> AWAY -> RETURNING -> JOINED

What holds everywhere:

 1. Nothing but `wait` ever waits, once there was a connection, but for a while where a connection
    is made or ended: a server that does not read, or a terminal that is held up, does not keep
    the other direction, or Ctrl+C, from working.
 2. What waits is bounded: where it is too much, its source is not read.
 3. Nothing from the server reaches the screen unless it was made harmless (`show`).
 4. A typed line leaves the outbox once all of it is sent, and what was typed while there was no
    connection (`kept`) enters it once the server has welcomed us: never at a prompt.
 5. The terminal gets back the mode that it had, however we end. The line in the editor is drawn
    where nothing else waits for the screen, and cleared off it before anything else is written.

The standard library is enough; with prompt_toolkit, a line can be edited on a terminal.

Exit status: 0 ended by the user, or by the server in peace; 1 the connection failed or was
refused; 2 the command line is wrong.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum

TYPE_CHECKING = False  # as in typing, which is slow to import
if TYPE_CHECKING:  # so is this: only the editor needs it
    from typing import Any, NoReturn

    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.data_structures import Size
    from prompt_toolkit.keys import Keys
    from prompt_toolkit.output.vt100 import Vt100_Output

# ---------------------------------------------------------------------------------------------
# 1. Limits
# ---------------------------------------------------------------------------------------------

VERSION = "0.1.0"
HOST = "localhost"
PORT = 8080
MAX_WAITING = 64 * 1024  # bytes that may wait in one direction before its source is not read
READ_SIZE = 64 * 1024  # bytes read in one go
MAX_TYPED = 4095  # characters of a line in the editor: as many as a terminal takes by itself
MAX_HISTORY = 500  # lines
MAX_PROMPT = 4096  # bytes of an unfinished line of the server's before the editor
LINE_KEPT = 128  # bytes kept of a line of the server's: more than any that has a meaning for us
LONG_LINE = 1025  # bytes that no server takes as one line
MAX_ANSWERS = 8  # to prompts on one connection: no server asks more often
LOOK_SECONDS = 1.0  # before we look again whether the terminal is ours, or a signal ends us
CLOSE_SECONDS = 1.0  # for the server to end its side, once we have ended ours
TRY_SECONDS = 30.0  # for an address to answer; and for the welcome, on the way back
RETRIES = 10
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0

PROMPT = b"Enter your screen name: "
PASSWORD_PROMPT = b"Password: "
WELCOME = re.compile(rb"Welcome, ([A-Za-z0-9_-]+) \(")
RENAMED = re.compile(rb"([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)")
PASSWORD_COMMAND = re.compile(rb"/(?:register|passwd) +(.+)", re.IGNORECASE)
PIECES = re.compile(rb"[^\n]*\n|[^\n]+")  # whole lines, and the beginning of one
GOODBYE = b"Goodbye, "  # and a name
GOOD_ENDING = b"Server is shutting down"
BAD_ENDINGS = (
    b"! too many attempts",
    b"! timed out",
    b"! server full",
    b"! kicked by the operator",
)

# ---------------------------------------------------------------------------------------------
# 2. Types
# ---------------------------------------------------------------------------------------------


class Phase(Enum):
    """Where the client is with the server."""

    ASKED = 1  # connected, and never welcomed yet: the user answers the prompts
    JOINED = 2  # welcomed
    AWAY = 3  # the connection is lost, and the next try is not due yet
    RETURNING = 4  # connected again: what we remember answers the prompts


class Options:
    """The command line."""

    def __init__(self) -> None:
        self.host: str = HOST
        self.port: int = PORT
        self.name: bytes | None = None
        self.retries: int = RETRIES
        self.retry_delay: float = RETRY_SECONDS


class Mode(Enum):
    """What the terminal does with what is typed."""

    FOUND = 1  # what it did when we came: shows it, and gives us whole lines
    HIDDEN = 2  # gives us whole lines, and shows nothing but their ends
    EDITED = 3  # gives us each key, and shows none: that is for the editor


class Editor:
    """The line that is being typed, where it can be edited."""

    def __init__(
        self,
        buffer: Buffer,
        output: Vt100_Output,
        sequences: Mapping[str, Keys | tuple[Keys, ...]],
        width: Callable[[str], int],
    ) -> None:
        self.buffer = buffer  # its text, and where in it the cursor is
        self.output = output
        self.sequences = sequences  # what terminals send for keys
        self.width = width  # gives the columns of a character

        self.decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self.held_key: str = ""  # the beginning of what a key sends
        self.row: int | None = None  # the cursor's, on the rows of what is drawn; None: nothing is
        self.rest: tuple[int, int] = (0, 0)  # rows from there to its end, and the column there
        self.drawn: tuple[str, str, int, Size] | None = None  # what it shows

        self.killed: str = ""  # for Ctrl+Y
        self.kills: bool = False  # the last key has killed: the next one adds to it
        self.history: list[str] = []
        self.lines: list[str] = [""]  # ... as edited, and a new one
        self.line: int = 0  # the one that is in the buffer


class Terminal:
    """The user's terminal, and the signals: most of them come from there."""

    def __init__(self, wake: int) -> None:
        self.wake = wake  # descriptor that can be read once a signal has come
        self.mode: Mode = Mode.FOUND  # that it is in
        self.wanted: Mode = Mode.FOUND  # that it shall be in, when it is ours
        self.found: list[Any] | None = None  # its attributes then; None: it was never changed
        self.editor: Editor | None = None  # None: there is none, or no more

        self.ended_by: int = 0  # the signal that ends us
        self.stopped: bool = False  # Ctrl+Z was pressed
        self.continued: bool = False  # it goes on, and the terminal may have been another's


class Link:
    """One connection, and what is known of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent: int = 0  # bytes of the outbox: the beginning of a line
        self.sent_all: bool = False  # the input has ended, and so has, in order, our side
        self.broken: bool = False  # the server takes no more, or has reset the connection
        self.ended: bool = False  # nothing more comes from the server, or shall come

        self.line: bytearray = bytearray()  # what the server's last line has so far
        self.last_line: bytes = b""  # its last whole one; both without prompts, cut at LINE_KEPT
        self.prompts: int = 0  # how often it has asked
        self.asked: bytes = b""  # its last prompt
        self.answers: list[bytes] = []  # the first lines typed, until the welcome
        self.named: bool = False  # the answer that --name gives was given

        self.decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held_return: str = ""  # a carriage return, until it is seen if a line end follows


class Client:
    """Everything."""

    def __init__(
        self, options: Options, terminal: Terminal, link: Link, answer: bytes | None
    ) -> None:
        self.options = options
        self.terminal = terminal
        self.link = link  # the connection; AWAY: the last one
        self.answer = answer  # to the prompt for the name, by --name, until it is refused
        self.phase: Phase = Phase.ASKED

        self.outbox: bytearray = bytearray()  # from the keyboard, for the server
        self.kept: bytearray = bytearray()  # ... and typed while there was none
        self.typed: bytearray = bytearray()  # the line that is passed on, cut
        self.unfinished: bool = False  # the last line of the input is not whole yet
        self.forgets: bool = False  # ... and is for nobody
        self.typed_all: bool = False  # the input has ended
        self.screen: bytearray = bytearray()  # for standard output, and the prompt

        self.name: bytes | None = None  # the one we have, or last had; None before the welcome
        self.password: bytes | None = None  # the one that was accepted, if any was
        self.offered: bytes | None = None  # one that a command has in it, until the server agrees
        self.tries: int = 0  # since the last welcome
        self.delay: float = 0.0  # before the next one
        self.deadline: float = 0.0  # AWAY: for the next try; RETURNING: for its end


# ---------------------------------------------------------------------------------------------
# 3. Screen
# ---------------------------------------------------------------------------------------------

# C0 except TAB and line end, DEL and C1, and what breaks a line or turns its direction.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def show(client: Client, data: bytes, final: bool = False) -> None:
    """Put what came on the screen, made harmless (CLIENT-6).

    What cannot be judged yet, the beginning of a character or a carriage return, is held back;
    `final` says that nothing more will come.
    """
    link = client.link
    text = link.held_return + link.decoder.decode(data, final)
    link.held_return = "\r" if text.endswith("\r") and not final else ""
    text = text.removesuffix(link.held_return).replace("\r\n", "\n")
    client.screen += CONTROL.sub("\ufffd", text).encode()
    if edited(client) and len(client.screen) - to_write(client) > MAX_PROMPT:
        client.screen += b"\n"  # no prompt is that long


def to_write(client: Client) -> int:
    """Count the bytes that can be written: all, or the whole lines where the rest is a prompt."""
    return client.screen.rfind(b"\n") + 1 if edited(client) else len(client.screen)


def write_screen(client: Client) -> None:
    """Write some of what waits for standard output; below all of it, draw the line in the editor.

    No more than PIPE_BUF, which is what may be written without waiting where `select` agrees.
    """
    count = min(to_write(client), select.PIPE_BUF)
    if count == 0:
        draw_line(client)
        return
    clear_line(client)
    with suppress(BlockingIOError):
        del client.screen[: os.write(1, client.screen[:count])]


def announce(client: Client, message: str) -> None:
    """Say something on standard error, which may be on the same screen, once that takes it."""
    while not select.select([], [2], [], LOOK_SECONDS)[1]:
        if client.terminal.ended_by:
            return
    with suppress(OSError):
        clear_line(client)
    complain(message)


def complain(message: str) -> None:
    """Say something on standard error."""
    data = os.fsencode(message)
    with suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


# ---------------------------------------------------------------------------------------------
# 4. Terminal
# ---------------------------------------------------------------------------------------------

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
KILLING_SIGNALS = (  # they end us at once, but for the terminal
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGXCPU,
)
SHELL_SIGNALS = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


def hide_typing(client: Client) -> None:
    """Show nothing of what is typed at a terminal, as it is a password (HIDE-1).

    Nothing of a line that is half typed shall become part of it.
    """
    if editor := edited(client):
        clear_line(client)
        forget_line(editor)
    if os.isatty(0):
        client.terminal.wanted = Mode.HIDDEN
        settle_terminal(client.terminal)


def show_typing(client: Client) -> None:
    """Show again what is typed; not the beginning of a password that nobody awaits any more."""
    terminal = client.terminal
    if client.phase is not Phase.JOINED:
        flush_hidden(terminal)
        drop_hidden(client)
    terminal.wanted = Mode.EDITED if terminal.editor else Mode.FOUND
    settle_terminal(terminal)


def flush_hidden(terminal: Terminal) -> None:
    """Drop what is half typed of a password: who reads next would show it."""
    if terminal.mode is Mode.HIDDEN:
        with suppress(termios.error):
            termios.tcflush(0, termios.TCIFLUSH)


def drop_hidden(client: Client) -> None:
    """Drop also what was read of it already, as Ctrl+D makes the terminal give it."""
    if client.terminal.wanted is Mode.HIDDEN and client.unfinished:
        del client.outbox[max(client.link.sent, client.outbox.rfind(b"\n") + 1) :]
        client.typed.clear()
        client.unfinished = False


def settle_terminal(terminal: Terminal) -> None:
    """Put the terminal into the mode that is wanted, if it has another and is ours now.

    The end of a line is still shown where the line was.
    """
    if terminal.mode is terminal.wanted or terminal.ended_by or not has_terminal():
        return
    if terminal.found is None:
        terminal.found = termios.tcgetattr(0)
        guard_terminal(terminal)
    mode = list(terminal.found)
    if terminal.wanted is Mode.HIDDEN and mode[3] & termios.ECHO:
        mode[3] = mode[3] & ~termios.ECHO | termios.ECHONL
    elif terminal.wanted is Mode.EDITED:
        mode[0] &= ~termios.IXON
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
        mode[6] = list(mode[6])
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    set_attributes(mode)
    if terminal.editor and terminal.mode is Mode.FOUND:
        terminal.editor.row = 0  # whatever else is in the cursor's row was shown by the terminal
    terminal.mode = terminal.wanted


def has_terminal() -> bool:
    """Tell whether the terminal is ours: after `bg` it is the shell's."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # not the one that job control is for
        return True


def set_attributes(mode: list[Any]) -> None:
    """Set the terminal's attributes, at once and with what was typed ahead left as it is.

    To do that from the background, where we may end up, would stop us.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    with suppress(termios.error):
        termios.tcsetattr(0, termios.TCSANOW, mode)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def restore_terminal(terminal: Terminal) -> None:
    """Put the terminal into the mode in which we found it."""
    if terminal.found is not None and terminal.mode is not Mode.FOUND:
        flush_hidden(terminal)
        set_attributes(terminal.found)
    terminal.mode = Mode.FOUND


def guard_terminal(terminal: Terminal) -> None:
    """Have the signals noted at which a terminal that we change must be seen to."""
    for number in (*KILLING_SIGNALS, *SHELL_SIGNALS):
        if signal.getsignal(number) is not signal.SIG_IGN:  # by nohup, for one
            catch(terminal, number)


def catch(terminal: Terminal, number: int) -> None:
    """Have a signal noted."""
    signal.signal(number, lambda number, _: on_signal(terminal, number))


def on_signal(terminal: Terminal, number: int) -> None:
    """Note a signal, for `attend`; one that ends us restores the terminal already now.

    The next one is left to the system: it ends the process at once.
    """
    if number == signal.SIGTSTP:
        terminal.stopped = True
    elif number == signal.SIGCONT:
        terminal.continued = True
    elif number != signal.SIGWINCH:
        terminal.ended_by = number
        restore_terminal(terminal)
        for each in (*ENDING_SIGNALS, *KILLING_SIGNALS):
            if signal.getsignal(each) not in (signal.SIG_IGN, give_up):
                signal.signal(each, signal.SIG_DFL)


def attend(terminal: Terminal) -> bool:
    """See to the signals that have come; tell whether one ends us."""
    with suppress(BlockingIOError):
        os.read(terminal.wake, READ_SIZE)
    if terminal.stopped:
        stop(terminal)
    if terminal.continued:
        terminal.mode = Mode.FOUND  # or whatever the shell has made of it
    if terminal.editor:
        terminal.editor.drawn = None
    settle_terminal(terminal)
    return terminal.ended_by != 0


def take_up(client: Client) -> None:
    """After a stop, or `fg`, see to it that all is as it was, and show again what is asked."""
    terminal = client.terminal
    settle_terminal(terminal)
    if terminal.continued:
        drop_hidden(client)
        if awaits_password(client):
            client.screen += client.link.asked
    terminal.continued = False


def stop(terminal: Terminal) -> None:
    """Stop, as Ctrl+Z demands, until we are told to go on."""
    terminal.stopped = False
    if terminal.editor:
        pass_line(terminal.editor)
    restore_terminal(terminal)
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    catch(terminal, signal.SIGTSTP)


# ---------------------------------------------------------------------------------------------
# 5. Editor
# ---------------------------------------------------------------------------------------------

# These patterns are compiled at their first use, for most clients have no editor.

# What one key sends, or several that are text; any number of escapes may stand before it.
KEY = (
    "[^\x00-\x1f\x7f]+"
    "|\x1b*?(?:\x1b\\[\\[?[0-?]*[ -/]*[@-~]|\x1bO[0-9;]*[@-~]|[^\x00-\x1f])"
    "|[\x00-\x1f]"
)
UNFINISHED_KEY = "\x1b+(?:\\[\\[?[0-?]*[ -/]*|O[0-9;]*)?\\Z"
LONG_KEY = 64  # characters that no key sends

TAB_STOP = 8
WORD = r"[^\W_]+"
BLANK_WORD = r"\S+"
SECRET_COMMANDS = ("/register ", "/passwd ")


def can_edit() -> bool:
    """Tell whether what the editor is made of is there."""
    from importlib.util import find_spec

    return find_spec("prompt_toolkit") is not None


def open_editor() -> Editor | None:
    """Make the editor, where there is a terminal that can do it, and prompt_toolkit (EDIT-1)."""
    capable = os.environ.get("TERM", "") not in ("", "dumb")
    if not (capable and os.isatty(0) and os.isatty(1)):
        return None
    try:
        from prompt_toolkit.buffer import Buffer
        from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
        from prompt_toolkit.output.vt100 import Vt100_Output
        from prompt_toolkit.utils import get_cwidth
    except ImportError:
        return None
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    return Editor(Buffer(), Vt100_Output.from_pty(sys.stdout), ANSI_SEQUENCES, get_cwidth)


def edited(client: Client) -> Editor | None:
    """Give the editor, where it is at work now."""
    return client.terminal.editor if client.terminal.mode is Mode.EDITED else None


def prompt_of(client: Client) -> str:
    """Give the unfinished last line of the server's: it stands before the line in the editor."""
    return client.screen[client.screen.rfind(b"\n") + 1 :].decode(errors="replace")


def awaits_password(client: Client) -> bool:
    """Tell whether a password's prompt waits for its answer, before which the editor gives way."""
    terminal, link = client.terminal, client.link
    hidden = terminal.editor is not None and terminal.wanted is Mode.HIDDEN
    return hidden and not link.ended and not is_answered(link)


def end_prompt(client: Client) -> None:
    """End the server's line on the screen, as it cannot; but the prompt for the name stays."""
    unfinished = prompt_of(client).encode() if edited(client) else b""
    if awaits_password(client) or unfinished not in (b"", PROMPT):
        client.screen += b"\n"


def drop_prompt(client: Client) -> None:
    """Forget the prompt, where the editor has it: it is of a connection that is gone."""
    if edited(client):
        del client.screen[client.screen.rfind(b"\n") + 1 :]


def to_draw(client: Client) -> tuple[str, str, int, Size] | None:
    """Give what the line is now, where the screen shows another: prompt, text, cursor, window."""
    editor = edited(client)
    if editor is None:
        return None
    buffer = editor.buffer
    line = (prompt_of(client), buffer.text, buffer.cursor_position, editor.output.get_size())
    return line if line != editor.drawn else None


def draw_line(client: Client) -> None:
    """Draw the line, with its cursor; of one that is higher than the window, what fits."""
    editor, line = edited(client), to_draw(client)
    if editor is None or line is None:
        return
    prompt, text, cursor, size = line
    clear_line(client)
    if prompt or text:
        rows, row, column = lay_out(editor, prompt + text, len(prompt) + cursor, size.columns)
        first = max(0, row - size.rows + 1)
        draw_rows(editor, rows[first : first + size.rows], row - first, column)
    editor.drawn = line


def draw_rows(editor: Editor, rows: list[str], row: int, column: int) -> None:
    """Draw rows below each other, and put the cursor onto one of them.

    The terminal shall not wrap by itself: not all agree on when to.
    """
    output = editor.output
    output.disable_autowrap()
    output.write("\r\n".join(rows))
    output.enable_autowrap()
    output.cursor_up(len(rows) - 1 - row)
    output.write_raw("\r")
    output.cursor_forward(column)
    output.flush()
    editor.row = row
    editor.rest = (len(rows) - 1 - row, sum(width_of(editor, each) for each in rows[-1]))


def pass_line(editor: Editor) -> None:
    """Put the cursor behind the line, which stays as it is drawn."""
    rows, column = editor.rest
    if editor.row is not None:
        editor.output.cursor_down(rows)
        editor.output.write_raw("\r")
        editor.output.cursor_forward(column)
        editor.output.flush()


def lay_out(editor: Editor, text: str, cursor: int, columns: int) -> tuple[list[str], int, int]:
    """Cut a line into rows as wide as the window; give them, and the cursor's row and column.

    A full last row has an empty one below it, for the cursor.
    """
    rows, column, place = [""], 0, (0, 0)
    for index, character in enumerate(text + "\n"):
        width = width_of(editor, character)
        if column + width > columns:
            rows.append("")
            column = 0
        if index == cursor:
            place = (len(rows) - 1, min(column, columns - 1))
        if character == "\t":
            column = put_tab(rows, column, columns)
        elif character != "\n":
            rows[-1] += character
            column += width
    return rows, *place


def width_of(editor: Editor, character: str) -> int:
    """Give the columns of a character; of a TAB, or of the cursor behind the line, the least."""
    return 1 if character in "\t\n" else editor.width(character)


def put_tab(rows: list[str], column: int, columns: int) -> int:
    """Put blanks up to the next tab stop, across the window's edge too; give the column then."""
    blanks = TAB_STOP - column % TAB_STOP
    here = min(blanks, columns - column)
    rows[-1] += " " * here
    if here == blanks:
        return column + here
    rows.append(" " * min(blanks - here, columns))
    return len(rows[-1])


def clear_line(client: Client) -> None:
    """Clear the line off the screen, all its rows."""
    editor = client.terminal.editor
    if editor is not None and editor.row is not None:
        editor.output.cursor_up(editor.row)
        editor.output.write_raw("\r")
        editor.output.erase_down()
        editor.output.flush()
        editor.row = editor.drawn = None


def keep_line(client: Client, editor: Editor) -> None:
    """Leave the line on the screen, behind its prompt: from now on it is one like any other."""
    prompt = prompt_of(client)
    columns = editor.output.get_size().columns
    rows, _, _ = lay_out(editor, prompt + editor.buffer.text, 0, columns)
    if len(rows) > 1 and not rows[-1]:
        rows.pop()
    del client.screen[client.screen.rfind(b"\n") + 1 :]
    client.screen += ("\n".join(rows) + "\n").encode()
    forget_line(editor)


def forget_line(editor: Editor) -> None:
    """Begin a new line."""
    editor.buffer.reset()
    editor.lines = [*editor.history, ""]
    editor.line = len(editor.history)


def leave_editor(client: Client) -> None:
    """End editing: what is half typed stays on the screen, with the cursor below it."""
    terminal = client.terminal
    if awaits_password(client):
        client.screen += b"\n"
    clear_line(client)
    editor, terminal.editor = terminal.editor, None
    if editor is not None and terminal.wanted is Mode.EDITED:
        if editor.buffer.text or prompt_of(client):
            keep_line(client, editor)
        terminal.wanted = Mode.FOUND
        restore_terminal(terminal)


def leave_screen(client: Client) -> None:
    """End editing, as the program ends: what waits for the screen is written, if it takes it."""
    if client.terminal.editor is None:
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, CLOSE_SECONDS)
    try:
        leave_editor(client)
        while client.screen:
            write_screen(client)
    except OSError:  # it took too long, or the terminal is gone
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def give_up(_number: int, _frame: object) -> None:
    """Break off what waits for a terminal that is held up."""
    raise TimeoutError


def on_keys(client: Client, data: bytes) -> None:
    """Do what the keys demand; no data is the end of the terminal."""
    editor = edited(client)
    if not data or editor is None:
        leave_editor(client)
        return
    text = editor.held_key + editor.decoder.decode(data)
    unfinished = re.search(UNFINISHED_KEY, text)
    editor.held_key = unfinished[0] if unfinished and len(unfinished[0]) < LONG_KEY else ""
    for key in re.findall(KEY, text[: unfinished.start()] if unfinished else text):
        if not client.typed_all:
            on_key(client, editor, key)


def on_key(client: Client, editor: Editor, key: str) -> None:
    """Do what a key demands; one that is none of ours does nothing."""
    name = key_name(editor, key)
    if name == "c-d" and not editor.buffer.text:
        client.typed_all = True
        leave_editor(client)
    elif name in ("c-m", "c-j"):
        accept_line(client, editor)
    elif name == "c-l":
        clear_screen(editor)
    elif name in HISTORY:
        go_to_line(editor, editor.line + HISTORY[name])
    elif name in MOVES:
        editor.buffer.cursor_position = MOVES[name](editor)
    elif name in DELETES:
        delete_to(editor, DELETES[name](editor))
    elif name in KILLS:
        kill_to(editor, KILLS[name](editor))
    elif name == "c-y":
        insert(editor, editor.killed)
    elif not name:
        insert(editor, key)
    editor.kills = name in KILLS


def key_name(editor: Editor, key: str) -> str:
    """Give a key's name; none for text."""
    if key == "\t" or (key[0] >= " " and key != "\x7f"):
        return ""
    named = editor.sequences.get(key)
    return str(named.value) if named and not isinstance(named, tuple) else key.lower()


def accept_line(client: Client, editor: Editor) -> None:
    """Send the line; remember it, unless it has a password in it or may be one (HIDE-3)."""
    text = editor.buffer.text
    secret = (
        client.phase is Phase.ASKED or client.forgets or text.lower().startswith(SECRET_COMMANDS)
    )
    if text and not secret and text not in editor.history[-1:]:
        editor.history.append(text)
        del editor.history[:-MAX_HISTORY]
    keep_line(client, editor)
    on_typed(client, (text + "\n").encode())


def go_to_line(editor: Editor, line: int) -> None:
    """Go to another line of the history, or to the new one below it; each is kept as edited."""
    if 0 <= line < len(editor.lines):
        editor.lines[editor.line] = editor.buffer.text
        editor.line = line
        editor.buffer.text = editor.lines[line]
        editor.buffer.cursor_position = len(editor.buffer.text)


def clear_screen(editor: Editor) -> None:
    """Clear all off the screen: the line is drawn at the top."""
    editor.output.erase_screen()
    editor.output.cursor_goto(0, 0)
    editor.output.flush()
    editor.row = editor.drawn = None


def insert(editor: Editor, text: str) -> None:
    """Insert text that a line may have in it, as far as there is room."""
    editor.buffer.insert_text(CONTROL.sub("", text)[: MAX_TYPED - len(editor.buffer.text)])


def delete_to(editor: Editor, end: int) -> str:
    """Delete what is between the cursor and another place; give it."""
    buffer = editor.buffer
    count = abs(end - buffer.cursor_position)
    buffer.cursor_position = max(end, buffer.cursor_position)
    return buffer.delete_before_cursor(count)


def kill_to(editor: Editor, end: int) -> None:
    """Delete what is between the cursor and another place, and keep it for Ctrl+Y."""
    before = end < editor.buffer.cursor_position
    killed, earlier = delete_to(editor, end), editor.killed if editor.kills else ""
    if killed:
        editor.killed = killed + earlier if before else earlier + killed


def character_before(editor: Editor) -> int:
    """Find where the character before the cursor begins, with all that is combined with it."""
    text, place = editor.buffer.text, editor.buffer.cursor_position - 1
    while place > 0 and width_of(editor, text[place]) == 0:
        place -= 1
    return max(0, place)


def character_after(editor: Editor) -> int:
    """Find where the character behind the cursor ends."""
    text, place = editor.buffer.text, editor.buffer.cursor_position + 1
    while place < len(text) and width_of(editor, text[place]) == 0:
        place += 1
    return min(place, len(text))


def line_begin(_: Editor) -> int:
    """Find where the line begins."""
    return 0


def line_end(editor: Editor) -> int:
    """Find where the line ends."""
    return len(editor.buffer.text)


def word_before(editor: Editor, word: str = WORD) -> int:
    """Find where the word before the cursor begins."""
    words = re.finditer(word, editor.buffer.text[: editor.buffer.cursor_position])
    return max((found.start() for found in words), default=0)


def word_after(editor: Editor) -> int:
    """Find where the word behind the cursor ends."""
    place = editor.buffer.cursor_position
    found = re.search(WORD, editor.buffer.text[place:])
    return place + found.end() if found else line_end(editor)


HISTORY = {"up": -1, "c-p": -1, "down": 1, "c-n": 1}
MOVES: dict[str, Callable[[Editor], int]] = {
    **dict.fromkeys(("left", "c-b"), character_before),
    **dict.fromkeys(("right", "c-f"), character_after),
    **dict.fromkeys(("home", "c-a"), line_begin),
    **dict.fromkeys(("end", "c-e"), line_end),
    **dict.fromkeys(("c-left", "\x1bb"), word_before),
    **dict.fromkeys(("c-right", "\x1bf"), word_after),
}
DELETES: dict[str, Callable[[Editor], int]] = {
    "c-h": character_before,
    **dict.fromkeys(("delete", "c-d"), character_after),
}
KILLS: dict[str, Callable[[Editor], int]] = {
    "c-k": line_end,
    "c-u": line_begin,
    "c-w": lambda editor: word_before(editor, BLANK_WORD),
}


# ---------------------------------------------------------------------------------------------
# 6. Connection
# ---------------------------------------------------------------------------------------------


def connect_to(host: str, port: int, terminal: Terminal) -> socket.socket | None:
    """Connect to the first address of a host that answers; None where a signal ends us first."""
    failure = OSError(0, "no address found")
    found = socket.getaddrinfo(os.fsencode(host), port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        try:
            sock = socket.socket(family, kind, protocol)
            return sock if connect_one(sock, address, terminal) else None
        except OSError as error:
            failure = error
    raise failure


def connect_one(sock: socket.socket, address: tuple[object, ...], terminal: Terminal) -> bool:
    """Connect to one address; False where a signal ends us first."""
    sock.setblocking(False)
    prepare(sock)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        connected = wait_connected(sock, terminal)
        if terminal.ended_by:
            sock.close()
            return False
        failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        code = failure if connected else errno.ETIMEDOUT
    if code != 0:
        sock.close()
        raise OSError(code, os.strerror(code))
    return True


def wait_connected(sock: socket.socket, terminal: Terminal) -> bool:
    """Wait until it is known whether an address answers; give up in time, or at a signal."""
    end = time.monotonic() + TRY_SECONDS
    while (left := end - time.monotonic()) > 0:
        signalled, connected, _ = select.select([terminal.wake], [sock], [], left)
        if connected or (signalled and attend(terminal)):
            return bool(connected)
    return False


def prepare(sock: socket.socket) -> None:
    """Send small lines without delay; notice within two minutes that a server has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)


def send_typed(client: Client) -> None:
    """Send what was typed, as far as the kernel takes it; after the end of input, end our side."""
    link = client.link
    try:
        if has_unsent(client):
            link.sent += link.sock.send(client.outbox[link.sent : to_send(client)])
            forget_sent(client)
        if has_said_all(client):
            link.sock.shutdown(socket.SHUT_WR)
            link.sent_all = True
    except BlockingIOError:
        pass
    except OSError:  # what the server said before it went can still be read
        link.broken = True


def to_send(client: Client) -> int:
    """Count the bytes that can be sent: all, or the whole lines where the rest may be dropped."""
    hidden = client.terminal.wanted is Mode.HIDDEN
    return client.outbox.rfind(b"\n") + 1 if hidden else len(client.outbox)


def has_unsent(client: Client) -> bool:
    """Tell whether something waits that can be sent."""
    link = client.link
    may_send = not (client.phase is Phase.AWAY or link.broken or link.ended)
    return may_send and link.sent < to_send(client)


def has_said_all(client: Client) -> bool:
    """Tell whether it is time to end our side."""
    link = client.link
    may_end = not (is_away(client) or link.broken or link.ended or link.sent_all)
    return may_end and client.typed_all and not client.outbox and not client.kept


def forget_sent(client: Client) -> None:
    """Take out of the outbox the lines that are sent.

    A line of which only a part is sent stays: it is none for the server before its end comes.
    Of one that is too long the beginning is enough: it will be refused again.
    """
    link = client.link
    whole = client.outbox.rfind(b"\n", 0, link.sent) + 1
    del client.outbox[:whole]
    link.sent -= whole
    if link.sent > LONG_LINE:
        del client.outbox[LONG_LINE : link.sent]
        link.sent = LONG_LINE


def close_in_order(sock: socket.socket) -> None:
    """End our side, and discard what comes until the server ends its own.

    To close a connection with something unread in it would reset it.
    """
    end = time.monotonic() + CLOSE_SECONDS
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([sock], [], [], left)
            if ready and not sock.recv(READ_SIZE):
                break


# ---------------------------------------------------------------------------------------------
# 7. From the server
# ---------------------------------------------------------------------------------------------


def receive(client: Client) -> None:
    """Receive once from the server."""
    link = client.link
    try:
        data = link.sock.recv(READ_SIZE)
    except BlockingIOError:
        return
    except OSError:
        data, link.broken = b"", True
    for piece in PIECES.findall(data):
        if not link.ended:
            on_server(client, piece)
    if not data:
        show(client, b"", final=True)
        end_prompt(client)
        link.ended = True


def on_server(client: Client, piece: bytes) -> None:
    """Show a line, or a piece of one, and take its meaning; on the way back, that comes first."""
    link = client.link
    if client.phase is not Phase.RETURNING:
        show(client, piece)
    link.line += piece.removesuffix(b"\n")[: LINE_KEPT - len(link.line)]
    prompted = client.phase is not Phase.JOINED and take_prompts(link)
    if piece.endswith(b"\n"):
        link.last_line = bytes(link.line).removesuffix(b"\r")
        link.line.clear()
        on_line(client, link.last_line)
    elif prompted and not link.line:
        on_prompt(client)


def take_prompts(link: Link) -> bool:
    """Take the prompts off the front of the line; tell whether there was one.

    The user's line end, which ends a prompt on the screen, is not sent back by the server. Nobody
    in the room can say what looks like a prompt: no one is called Password.
    """
    before = link.prompts
    for prompt in (PROMPT, PASSWORD_PROMPT):
        while link.line.startswith(prompt):
            del link.line[: len(prompt)]
            link.prompts += 1
            link.asked = prompt
    return link.prompts > before


def on_prompt(client: Client) -> None:
    """See to it that the prompt that is pending is answered."""
    if client.phase is Phase.RETURNING and client.name is not None:
        answer_prompt(client)
        return
    if client.phase is Phase.RETURNING:  # the name is asked anew
        client.phase = Phase.ASKED
        show(client, client.link.asked)
    if client.link.asked == PASSWORD_PROMPT:
        hide_typing(client)
        return
    show_typing(client)
    if client.answer is not None:
        give_name(client, client.answer)


def give_name(client: Client, name: bytes) -> None:
    """Answer as --name says, the first time on each connection, until it is refused (CLIENT-8)."""
    if client.link.named:
        client.answer = None
        return
    client.link.named = True
    pass_on(client, name + b"\n")
    show(client, name + b"\n")


def on_line(client: Client, line: bytes) -> None:
    """Follow what happens to us by the server's whole lines."""
    welcome = WELCOME.match(line)
    if client.phase is Phase.RETURNING:
        come_back(client, line, welcome[1] if welcome else None)
    elif client.phase is Phase.ASKED and welcome:
        enter(client, welcome[1])
    elif client.phase is Phase.JOINED and client.name is not None:
        follow_name(client, client.name, line)


def follow_name(client: Client, name: bytes, line: bytes) -> None:
    """Learn of a new name, or a new password, of ours."""
    renamed = RENAMED.fullmatch(line)
    if renamed and renamed[1] == name:
        client.name = renamed[2]
    elif line in (b"Password changed", b"Registered " + name):
        client.password = client.offered


def enter(client: Client, name: bytes) -> None:
    """Be welcomed: remember what let us in, and send what was kept."""
    link = client.link
    if client.phase is Phase.ASKED and link.asked == PASSWORD_PROMPT and is_answered(link):
        client.password = link.answers[link.prompts - 1]
    link.answers.clear()
    client.name = name
    client.answer = None
    client.phase = Phase.JOINED
    show_typing(client)
    client.tries = 0
    kept, client.kept = bytes(client.kept), bytearray()
    pass_on(client, kept)


def is_answered(link: Link) -> bool:
    """Tell whether a line was typed for the last prompt, as for those before it."""
    return link.prompts <= len(link.answers)


def ending(client: Client) -> int | None:
    """See how it ended, as the server's last line tells (CLIENT-5).

    Gives the exit status, or none where the connection is tried again.
    """
    link, last = client.link, client.link.last_line
    show_typing(client)
    if last == GOOD_ENDING or (last.startswith(GOODBYE) and not is_away(client)):
        announce(client, "Disconnected\n")
        return 0
    if last in BAD_ENDINGS and not is_away(client):
        announce(client, "Disconnected\n")
        return 1
    if link.sent_all and not link.broken:
        return 0
    if client.options.retries == 0 or link.sent_all or nobody_to_ask(client):
        announce(client, "Connection lost\n")
        return 1
    return lose(client)


# ---------------------------------------------------------------------------------------------
# 8. From the keyboard
# ---------------------------------------------------------------------------------------------


def on_keyboard(client: Client) -> None:
    """Pass on what was typed, as it comes; an unfinished last line gets its end (CLIENT-1)."""
    if not select.select([0], [], [], 0)[0]:  # it was dropped meanwhile
        return
    try:
        data = os.read(0, READ_SIZE)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    client.typed_all = not data
    if client.terminal.mode is Mode.EDITED:
        on_keys(client, data)
    else:
        on_lines(client, data)
    if is_away(client) and nobody_to_ask(client):
        client.link.ended = True


def on_lines(client: Client, data: bytes) -> None:
    """Pass on lines, and the beginning of one."""
    if not data and client.unfinished:
        data = b"\n"
    client.unfinished = not data.endswith(b"\n") and not client.typed_all
    for piece in PIECES.findall(data):
        on_typed(client, piece)


def on_typed(client: Client, piece: bytes) -> None:
    """Put a line, or a piece of one, where it belongs."""
    if client.forgets:
        client.forgets = not piece.endswith(b"\n")
    elif is_away(client) or (client.kept and not client.kept.endswith(b"\n")):
        client.kept += piece
    else:
        pass_on(client, piece)


def pass_on(client: Client, data: bytes) -> None:
    """Send lines, or a piece of one; remember those that may turn out to be a password."""
    client.outbox += data
    for piece in PIECES.findall(data):
        client.typed += piece.removesuffix(b"\n")[: LINE_KEPT - len(client.typed)]
        if piece.endswith(b"\n"):
            remember(client, bytes(client.typed).removesuffix(b"\r"))
            client.typed.clear()


def remember(client: Client, line: bytes) -> None:
    """Keep a line for as long as it may turn out to be the password that is accepted."""
    if client.phase is Phase.ASKED and len(client.link.answers) < MAX_ANSWERS:
        client.link.answers.append(line)
    if command := PASSWORD_COMMAND.fullmatch(line):
        client.offered = command[1]


def nobody_to_ask(client: Client) -> bool:
    """Tell whether a prompt for the name would find no answer, as the input has ended."""
    return client.typed_all and client.name is None and client.answer is None


# ---------------------------------------------------------------------------------------------
# 9. Away and back
# ---------------------------------------------------------------------------------------------


def is_away(client: Client) -> bool:
    """Tell whether the connection was lost, and we are not back yet: what is typed is kept."""
    return client.phase in (Phase.AWAY, Phase.RETURNING)


def lose(client: Client) -> int | None:
    """Wait for the next try (BACK-1), or give the exit status where there was the last one."""
    client.link.sock.close()
    client.link.ended = False
    if client.tries == client.options.retries:
        show_unsent(client)
        announce(client, f"Giving up after {client.tries} attempts\n")
        return 1
    delay = client.delay * 2 if client.tries else client.options.retry_delay
    client.delay = min(delay, MAX_RETRY_SECONDS)
    client.tries += 1
    shown = f"{client.delay:.9f}".rstrip("0").rstrip(".")
    count = f"{client.tries} of {client.options.retries}"
    announce(client, f"Connection lost, retrying in {shown} s ({count})\n")
    keep_unsent(client)
    client.phase = Phase.AWAY
    client.deadline = time.monotonic() + client.delay
    return None


def show_unsent(client: Client) -> None:
    """Show the lines that were kept, and will not be sent (BACK-9)."""
    for line in bytes(client.kept).splitlines():
        announce(client, f"not sent: {os.fsdecode(line)}\n")


def keep_unsent(client: Client) -> None:
    """Keep what was typed and not sent, unless it was for prompts: they are not asked again.

    The same holds for the rest of an answer, or for a password, that has not been typed yet.
    """
    link = client.link
    if client.phase is Phase.JOINED:
        client.kept += client.outbox
    elif client.phase is Phase.ASKED:
        awaited = link.asked == PASSWORD_PROMPT and not is_answered(link)
        client.forgets = bool(client.typed) or awaited
    client.outbox.clear()
    client.typed.clear()


def try_again(client: Client) -> None:
    """Connect once more."""
    try:
        sock = connect_to(client.options.host, client.options.port, client.terminal)
    except OSError:
        client.link.ended = True
        return
    if sock is not None:
        client.link = Link(sock)
        client.phase = Phase.RETURNING
        drop_prompt(client)
        client.deadline = time.monotonic() + TRY_SECONDS


def answer_prompt(client: Client) -> None:
    """Answer in the user's place, each prompt once; any other makes it a failed try."""
    link = client.link
    if link.prompts == 1 and link.asked == PROMPT and client.name is not None:
        client.outbox += client.name + b"\n"
    elif link.prompts == 2 and link.asked == PASSWORD_PROMPT and client.password is not None:
        client.outbox += client.password + b"\n"
    else:
        refuse(client)


def come_back(client: Client, line: bytes, welcomed: bytes | None) -> None:
    """Take a line of the server's on the way back: the welcome, a refusal, or something to show."""
    if welcomed is not None and welcomed == client.name:
        announce(client, f"Reconnected as {welcomed.decode()}\n")
        enter(client, welcomed)
        return
    if line and welcomed is None:
        show(client, line + b"\n")
    if line.startswith(b"! ") or welcomed is not None:
        refuse(client)


def refuse(client: Client) -> None:
    """End a try that did not bring us back."""
    close_in_order(client.link.sock)
    client.link.ended = True


def on_deadline(client: Client) -> None:
    """Try again, or end a try that takes too long."""
    if client.phase is Phase.AWAY:
        try_again(client)
    else:
        refuse(client)


# ---------------------------------------------------------------------------------------------
# 10. Loop
# ---------------------------------------------------------------------------------------------


def run(client: Client) -> int:
    """Pass on what comes, both ways, until it ends for good; give the exit status."""
    status, terminal = None, client.terminal
    while status is None and not terminal.ended_by:
        take_up(client)
        readable, writable = wait(client)
        if terminal.wake in readable and attend(terminal):
            break
        if 1 in writable:
            write_screen(client)
        if client.link.sock in readable:
            receive(client)
        if 0 in readable:
            on_keyboard(client)
        if is_away(client) and not client.link.ended and time.monotonic() >= client.deadline:
            on_deadline(client)
        send_typed(client)
        if client.link.ended and not to_write(client):
            status = ending(client)
    leave_screen(client)
    if status is None:
        close_in_order(client.link.sock)
    return status or 0


def wait(client: Client) -> tuple[list[socket.socket | int], list[socket.socket | int]]:
    """Wait until something can be done; give what can be read, and written."""
    readers: list[socket.socket | int] = [client.terminal.wake]
    writers: list[socket.socket | int] = []
    if may_hear(client):
        readers.append(client.link.sock)
    if may_type(client):
        readers.append(0)
    if has_unsent(client):
        writers.append(client.link.sock)
    if to_write(client) or to_draw(client):
        writers.append(1)
    left = []
    if is_away(client):
        left.append(max(0.0, client.deadline - time.monotonic()))
    if client.terminal.mode is not client.terminal.wanted:
        left.append(LOOK_SECONDS)  # no signal tells of `fg` where we ran on after `bg`
    readable, writable, _ = select.select(readers, writers, [], min(left, default=None))
    return readable, writable


def may_hear(client: Client) -> bool:
    """Tell whether the server is read.

    On the way back, only where what we say comes last; and a flood shall not hide the editor.
    """
    most = 1 if client.phase is Phase.RETURNING or edited(client) else MAX_WAITING
    return client.phase is not Phase.AWAY and not client.link.ended and to_write(client) < most


def may_type(client: Client) -> bool:
    """Tell whether standard input is read: not before the name that --name gives was sent."""
    link = client.link
    if client.typed_all or link.ended or len(client.outbox) + len(client.kept) >= MAX_WAITING:
        return False
    if edited(client) and len(client.screen) >= MAX_WAITING:
        return False
    if client.terminal.mode is not client.terminal.wanted:  # it is another's
        return False
    return is_away(client) or (not link.broken and (client.answer is None or link.named))


# ---------------------------------------------------------------------------------------------
# 11. Start and stop
# ---------------------------------------------------------------------------------------------

USAGE = """\
usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
"""

OPTIONS_HELP = f"""{USAGE}
A chat client. It shows what the server sends and sends each line of its input.
Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH tunnel
or a TLS proxy (README.md tells how).

  --host HOST            where the server is (default {HOST})
  --port PORT            its port (default {PORT})
  --name NAME            the screen name to give (default: be asked for it)
  --retries N            how often a connection that was lost is tried again; 0: not at all
                         (default {RETRIES})
  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to
                         {MAX_RETRY_SECONDS:g} s (default {RETRY_SECONDS:g})
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is sent, Ctrl+D.
"""

EDITING_HELP = "On a terminal a line can be edited; Up brings back those typed before.\n"
NO_EDITING_HELP = "To edit lines on a terminal: pip install prompt_toolkit\n"

VERSION_LINE = f"chat-client {VERSION} (Python, protocol 1)\n"


def fail(status: int, message: str) -> NoReturn:
    """End the program before it has begun."""
    complain(message)
    sys.exit(status)


def usage_error(message: str) -> NoReturn:
    """End the program for a command line that is wrong."""
    fail(2, f"{USAGE}chat-client: error: {message}\n")


def answer(text: str) -> NoReturn:
    """Print what --help or --version asks for."""
    with suppress(OSError):
        os.write(1, text.encode())
    sys.exit(0)


def host_name(text: str) -> str:
    """Read a name or an address. Nothing, or `*`, would be any address."""
    if text in ("", "*"):
        raise ValueError(text)
    return text


def port_number(text: str) -> int:
    """Read a port."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(text)
    return int(text)


def whole_number(text: str) -> int:
    """Read a number of tries."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(text)
    return int(text)


def seconds(text: str) -> float:
    """Read a time above 0."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


def screen_name(text: str) -> bytes:
    """Read a name; whether it is a good one is for the server to say, if it is one line."""
    if CONTROL.search(text) or "\n" in text:
        raise ValueError(text)
    return os.fsencode(text)


VALUES: dict[str, Callable[[str], object]] = {
    "--host": host_name,
    "--port": port_number,
    "--name": screen_name,
    "--retries": whole_number,
    "--retry-delay": seconds,
}


def parse_options(words: list[str]) -> Options:
    """Read the command line; the first word that asks for help or is wrong ends the program."""
    options = Options()
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--help":
            answer(OPTIONS_HELP + (EDITING_HELP if can_edit() else NO_EDITING_HELP))
        elif word == "--version":
            answer(VERSION_LINE)
        elif name not in VALUES:
            usage_error(f"{'unknown option' if word.startswith('-') else 'not an option'}: {word}")
        else:
            set_option(options, name, value if equals else next(rest, None), equals or " ")
    return options


def set_option(options: Options, name: str, value: str | None, between: str) -> None:
    """Set the option that `name` stands for, or end the program for a bad value."""
    if value is None:
        usage_error(f"no value for {name}")
    try:
        setattr(options, name.removeprefix("--").replace("-", "_"), VALUES[name](value))
    except ValueError:
        usage_error(f"bad value: {name}{between}{value}")


def show_address(host: str, port: int) -> str:
    """Write an address; one of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def catch_signals() -> Terminal:
    """Let the first Ctrl+C or SIGTERM wake the loop, and a second one end the process.

    Python writes a byte to a pipe at once when a signal comes: a mere handler would run too late
    where the signal comes just before the loop goes to sleep.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    terminal = Terminal(reader)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in ENDING_SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:  # PROG-10
            catch(terminal, number)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return terminal


def open_standard_files() -> None:
    """Open what the caller left closed of descriptors 0 to 2, lest the connection become one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def main() -> int:
    """Run the program; give its exit status."""
    open_standard_files()
    terminal = catch_signals()
    options = parse_options(sys.argv[1:])
    try:
        sock = connect_to(options.host, options.port, terminal)
    except OSError as error:
        address = show_address(options.host, options.port)
        fail(1, f"cannot connect to {address}: {error.strerror}\n")
    if sock is None:
        return 0
    terminal.editor = open_editor()
    client = Client(options, terminal, Link(sock), options.name)
    try:
        show_typing(client)
        return run(client)
    except (OSError, termios.error):
        # Standard output is gone; an error of the connection does not come this far.
        return 0 if terminal.ended_by else 1
    finally:
        restore_terminal(terminal)
        if terminal.ended_by in KILLING_SIGNALS:
            os.kill(os.getpid(), terminal.ended_by)


if __name__ == "__main__":
    os._exit(main())  # nothing is left to write, to a terminal that may be held up
