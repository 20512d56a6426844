"""The terminal of standard input: line editing (EDIT), and passwords without echo (HIDE).

It is in one of three modes:

    plain    the terminal edits lines itself, or there is no terminal
    hidden   the same without echo, while a password is typed
    edited   prompt_toolkit edits the line, which is drawn below everything else, after its prompt

Everything to show is appended to `out`, which the client writes to standard output.

prompt_toolkit does the keys, the history, the search and the drawing, in one session for all lines.
It gets its keys from `read_line`. What it draws goes to `out` while the line is on the screen
(`drawn`), so its drawing does not mix with lines from the server.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import select
import signal
import termios
import time
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:  # prompt_toolkit takes long to import, and only the editor needs it
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.data_structures import Size
    from prompt_toolkit.shortcuts import PromptSession

READ_SIZE = 64 * 1024  # bytes read in one system call
MAX_TYPED = 4095  # characters of an edited line, as in the kernel's own editing
MAX_BEGUN = 4096  # characters of a server's incomplete line
MAX_KEY = 4096  # characters of an escape sequence
MAX_HISTORY = 1000  # lines
MAX_NAMES = 1000  # names that TAB completes
ESCAPE_SECONDS = 0.5  # to wait for more after Escape alone
SEQUENCE_SECONDS = 2.0  # to wait for more after a longer part of an escape sequence

# The commands that TAB completes (CMD-1, ACCT).
COMMANDS = ("/help", "/who", "/msg", "/nick", "/register", "/passwd", "/unregister", "/quit")

PASTE_MARKS = re.compile("\x1b\\[\\?2004[hl]")  # which `mark_pastes` sends, not the library
PASTE_BEGINS = "\x1b[200~"
PASTE_ENDS = "\x1b[201~"
WHOLE_KEY = re.compile(
    r"\x1b(?:\[M...|\[\[.|\[[0-?]+[ -/]*[@-~]|\[[ -/]*[@-LN-Z\\-~]|O."
    r"|[\]P_^X].*?(?:\a|\x1b\\)|[^\[O\]P_^X\x1b])|[\x00-\x1a\x1c-\x1f\x7f]|[^\x00-\x1f\x7f]+",
    re.DOTALL,
)
BEGUN_KEY = re.compile(r"\x1b(?:\[M.{0,2}|\[\[?|\[[0-?]*[ -/]*|O|[\]P_^X].*)?\Z", re.DOTALL)
STRAY_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*)?")  # a beginning that no key continues


class Terminal:
    """The terminal, and what is on its screen."""

    def __init__(self, own: Callable[[], str], moved: Callable[[], None]) -> None:
        self.own = own  # returns the client's own prompt (EDIT-2)
        self.moved = moved  # called when the library has drawn something
        self.out = bytearray()  # text for standard output
        self.exists = os.isatty(0)
        self.ours = not self.exists  # we are in the foreground, or there is no terminal
        self.edits = False  # lines can be edited, until the end of the input
        self.hidden = False  # a password is being typed
        self.stops = False  # Ctrl+Z was pressed

        self.before: list[Any] = []  # the original mode, to restore
        self.changed = False  # the terminal has another mode
        self.ended = False  # the mode was restored for good
        self.marks = False  # bracketed paste is on

        self.begun = ""  # the server's incomplete line
        self.drawn = False  # the half-typed line is on the screen
        self.prompt_drawn = ""  # its prompt there
        self.names: dict[str, str] = {}  # in the room, by lower-cased name
        self.keys = ""  # an incomplete key
        self.since = 0.0  # when its last part came
        self.pasting = False
        self.decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        if self.exists and os.isatty(1) and os.environ.get("TERM", "") not in ("", "dumb"):
            with suppress(ImportError):
                self.start_library()

    def may_show(self) -> bool:
        """Whether to write to standard output: in the background, an editor waits (EDIT-5)."""
        return self.ours or not self.edits

    def is_editing(self) -> bool:
        """Whether the mode is `edited`."""
        return self.edits and not self.hidden

    # -----------------------------------------------------------------------------------------
    # Modes

    def take(self) -> bool:
        """Return whether we are in the foreground; set our mode when we have come there."""
        if not self.exists:
            return True
        ours = is_ours()
        if not ours:
            self.drawn = False
        elif not self.ours:
            self.set_mode()
            if self.edits:
                self.out += b"\r\x1b[J" + (self.begun.encode() if self.hidden else b"")
            self.moved()
        self.ours = ours
        return ours

    def set_mode(self) -> None:
        """Set the terminal's mode as we need it now. Input typed ahead stays."""
        if not self.exists or self.ended:
            return
        if not self.edits and not self.hidden:
            self.give_back()
            return
        if not self.changed:
            try:
                self.before = termios.tcgetattr(0)
            except termios.error:  # the terminal is gone
                return
        mode = [*self.before[:6], list(self.before[6])]
        mode[3] &= ~(termios.ECHO | termios.ECHONL)
        if self.hidden and self.before[3] & termios.ECHO:  # without ECHO, another program echoes
            mode[3] |= termios.ECHONL
        if self.is_editing():
            mode[0] = mode[0] & ~termios.IXON | termios.ICRNL
            mode[1] |= termios.OPOST | termios.ONLCR
            mode[3] &= ~(termios.ICANON | termios.IEXTEN)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        self.changed = True
        set_attributes(mode)
        self.mark_pastes(self.is_editing())

    def mark_pastes(self, wanted: bool) -> None:
        """Turn bracketed paste on or off, unless Ctrl+S has stopped the terminal."""
        if wanted != self.marks and is_ready(1, select.POLLOUT):
            with suppress(OSError):
                os.write(1, b"\x1b[?2004h" if wanted else b"\x1b[?2004l")
            self.marks = wanted

    def restore(self) -> None:
        """Restore the original mode, for good (HIDE-4, EDIT-8)."""
        self.give_back()
        self.ended = True

    def give_back(self) -> None:
        """Restore the original mode. Discard a half-typed password (HIDE-2)."""
        if not self.changed or not is_ours():
            return
        if self.hidden:
            discard_typed()
        self.mark_pastes(False)
        set_attributes(self.before)
        self.changed = False

    def read(self) -> bytes | None:
        """Read input; empty at its end, None where there is none now."""
        if not is_ready(0, select.POLLIN):  # it was discarded after the loop saw it
            return None
        try:
            return os.read(0, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return None if self.exists and not self.take() else b""

    def hide_typing(self) -> None:
        """Hide the typing of a password (HIDE-1). A half-typed line before it is dropped."""
        if self.hidden:
            return
        if self.edits:
            self.take_off()
            self.drop_line()
            self.out += self.begun.encode()
        self.hidden = True
        if self.ours:
            self.set_mode()

    def show_typing(self) -> None:
        """Show typing again. Half-typed input stays; see `drop_typed`."""
        if not self.hidden:
            return
        self.hidden = False
        if self.edits:
            self.out += b"\r\x1b[J"  # the prompt will be drawn again
        if self.ours:
            self.set_mode()

    def drop_typed(self) -> None:
        """Discard a half-typed password (HIDE-2)."""
        if self.hidden and self.exists and is_ours():
            discard_typed()

    def end_editing(self) -> None:
        """End line editing: leave the half-typed line on the screen, and restore the mode."""
        if self.ours and self.hidden:
            self.end_row()
        self.leave()
        self.give_back()
        self.edits = self.hidden = False

    def stop(self) -> None:
        """Stop the program (Ctrl+Z), with the original mode, until SIGCONT."""
        self.give_back()
        # Not even SIGCONT is caught: another thread could report it late, and we call `go_on`.
        before = {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGTSTP, signal.SIGCONT)}
        signal.raise_signal(signal.SIGTSTP)
        for number, handler in before.items():
            signal.signal(number, handler)
        self.go_on()

    def go_on(self) -> None:
        """Set up the terminal again: other programs may have used it in the meantime."""
        self.ours = not self.exists
        self.drawn = self.stops = False
        self.take()

    # -----------------------------------------------------------------------------------------
    # Screen

    def print_above(self, text: str) -> None:
        """Show sanitized text: complete lines above the typed one, an incomplete one before it."""
        if not self.edits:
            self.out += text.encode()
            return
        whole = text.rfind("\n") + 1
        if self.hidden:
            self.out += text.encode()
        elif whole:
            self.take_off()
            self.out += (self.begun + text[:whole]).encode()
        self.begun = text[whole:] if whole else self.begun + text
        if len(self.begun) > MAX_BEGUN:  # longer than any line of a chat server: end it here
            if self.is_editing():
                self.take_off()
                self.out += self.begun.encode() + b"\n"
            self.begun = ""

    def end_row(self) -> None:
        """End the server's incomplete line on the screen."""
        if self.edits and self.begun:
            self.print_above("\n")

    def forget_row(self) -> None:
        """Erase the server's incomplete line, if it is a prompt."""
        self.take_off()
        self.begun = ""

    def prompt(self) -> str:
        """Return the prompt of the half-typed line, without TABs, which the library shows as ^I."""
        return (self.begun or self.own()).replace("\t", " ")

    def wants_drawing(self) -> bool:
        """Whether the half-typed line, or its prompt, is missing on the screen."""
        shown = self.drawn and self.prompt_drawn == self.prompt()
        return self.is_editing() and self.ours and not shown and not self.stops

    def draw(self, done: bool = False) -> None:
        """Draw the half-typed line after its prompt; `done` leaves it on the screen for good."""
        if not self.drawn:
            self.app.renderer.reset()
            self.drawn = True
        self.prompt_drawn = self.prompt()
        with self.in_library():
            self.app.renderer.render(self.app, self.app.layout, is_done=done)

    def take_off(self) -> None:
        """Erase the half-typed line, to show something above it."""
        if self.drawn:
            self.app.renderer.erase()
            self.drawn = False

    def leave(self, entered: bool = False) -> None:
        """Leave the half-typed line on the screen, with the cursor below it.

        The client's own prompt alone is erased, unless Enter was pressed (EDIT-3).
        """
        if not self.is_editing() or not self.ours:
            return
        if not entered and not self.buffer.text and not self.begun:
            self.take_off()
            return
        self.draw(done=True)
        self.drawn = False

    # -----------------------------------------------------------------------------------------
    # Keys

    async def read_line(self, data: bytes, typed: Callable[[str], bool]) -> bool:
        """Handle input from the terminal; return True where the user has ended it (Ctrl+D).

        `typed` is called for each line, and returns whether the history may keep it.
        """
        self.typed = typed
        late = time.monotonic() - self.since
        if late > (ESCAPE_SECONDS if self.keys == "\x1b" else SEQUENCE_SECONDS):
            self.keys = ""
        self.keys += self.decoder.decode(data)
        self.since = time.monotonic()
        while self.is_editing() and (key := self.next_key()):
            if key == "\x04" and not self.pasting and not self.app.current_buffer.text:
                return True
            self.press(key)
            if key in "\r\n":  # the library needs a step of the event loop to load its history
                with self.in_library():
                    self.buffer.load_history_if_not_yet_loaded()
                await asyncio.sleep(0)
        return False

    def next_key(self) -> str:
        """Remove and return the next key; empty where it is incomplete."""
        found = WHOLE_KEY.match(self.keys)
        if not found and BEGUN_KEY.match(self.keys) and len(self.keys) < MAX_KEY:
            return ""
        found = found or STRAY_KEY.match(self.keys)
        key = found[0] if found else ""
        self.keys = self.keys[len(key) :]
        return key

    def press(self, key: str) -> None:
        """Handle a key. A key that the library does not know does nothing (EDIT-7)."""
        is_text = not key.startswith("\x1b") and unicodedata.category(key[0]) != "Cc"
        if key in (PASTE_BEGINS, PASTE_ENDS):
            self.pasting = key == PASTE_BEGINS
        elif is_text or (key == "\t" and self.pasting):
            self.insert(key[: MAX_TYPED - len(self.buffer.text)])
        elif key in "\r\n":
            self.feed("c-m")
        elif key == "\t":
            self.complete()
        elif not self.pasting:
            self.feed(*known_keys(key))

    def insert(self, text: str) -> None:
        """Insert text: several characters at once, because a key for each would be slow."""
        if len(text) == 1 and text != "\t":
            self.feed(text)
        elif text:
            self.app.current_buffer.insert_text(text)

    def complete(self) -> None:
        """Complete the word before the cursor, if exactly one command or name matches (EDIT-6)."""
        document = self.buffer.document
        before = document.text_before_cursor
        word = before.rpartition(" ")[2]
        if not word or document.current_char not in ("", " "):
            return
        is_command = word == before and word.startswith("/")
        words = COMMANDS if is_command else tuple(self.names.values())
        found = [name for name in words if name.lower().startswith(word.lower())]
        if len(found) == 1:
            self.buffer.delete_before_cursor(len(word))
            self.buffer.insert_text(found[0])

    def know(self, name: str) -> None:
        """Remember a name in the room; with too many, forget the oldest."""
        self.names[name.lower()] = name
        if len(self.names) > MAX_NAMES:
            del self.names[next(iter(self.names))]

    def forget(self, name: str) -> None:
        """Forget a name that has left the room."""
        self.names.pop(name.lower(), None)

    # -----------------------------------------------------------------------------------------
    # The library

    def start_library(self) -> None:
        """Make the session, with this class as its terminal."""
        from prompt_toolkit.input import create_pipe_input
        from prompt_toolkit.layout.processors import TabsProcessor
        from prompt_toolkit.output import ColorDepth
        from prompt_toolkit.output.vt100 import Vt100_Output
        from prompt_toolkit.shortcuts import PromptSession

        canvas = cast("TextIO", Canvas(self))
        self.silence = create_pipe_input()  # an input without keys: `feed` brings them
        self.session: PromptSession[str] = PromptSession(
            self.prompt,
            input=self.silence.__enter__(),
            output=Vt100_Output(canvas, window_size, enable_bell=False, enable_cpr=False),
            color_depth=ColorDepth.DEPTH_1_BIT,
            input_processors=[TabsProcessor(char1=" ", char2=" ")],
            complete_while_typing=False,
            validate_while_typing=False,
        )
        self.app = self.session.app
        self.app.terminal_size_polling_interval = None
        self.buffer = self.session.default_buffer
        self.edits = True

    async def edit(self) -> None:
        """Run the session, which never ends."""
        if self.edits:
            running = self.session.prompt_async(set_exception_handler=False, handle_sigint=False)
            self.buffer.accept_handler = self.accept
            await running

    def in_library(self) -> AbstractContextManager[None]:
        """Return the context in which the library must be called."""
        from prompt_toolkit.application.current import set_app

        return set_app(self.app)

    def feed(self, *keys: str) -> None:
        """Pass keys to the library, by its names for them; a letter is its own name."""
        from prompt_toolkit.key_binding import KeyPress
        from prompt_toolkit.keys import Keys

        presses = [KeyPress(key if len(key) == 1 else Keys(key)) for key in keys]
        with self.in_library():
            self.app.key_processor.feed_multiple(presses)
            self.app.key_processor.process_keys()

    def accept(self, buffer: Buffer) -> bool:
        """Handle an entered line, which stays on the screen. The library calls this."""
        from prompt_toolkit.history import InMemoryHistory

        line = buffer.text
        self.leave(entered=True)
        self.begun = ""
        if self.typed(line):
            buffer.append_to_history()
            lines = buffer.history.get_strings()
            if len(lines) > MAX_HISTORY:
                buffer.history = InMemoryHistory(lines[-MAX_HISTORY // 2 :])
        buffer.reset()
        return True

    def drop_line(self) -> None:
        """Discard the half-typed line."""
        from prompt_toolkit.search import stop_search

        with self.in_library():
            if self.app.layout.is_searching:
                stop_search()
        self.buffer.reset()
        self.keys, self.pasting = "", False


class Canvas:
    """The output of the library."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def write(self, text: str) -> None:
        """Append a drawing to `out`; discard it while the line is not on the screen."""
        if self.terminal.drawn:
            self.terminal.out += PASTE_MARKS.sub("", text).encode(errors="replace")

    def flush(self) -> None:
        """Tell the client, which writes it."""
        self.terminal.moved()


def window_size() -> Size:
    """Return the size of the window."""
    from prompt_toolkit.data_structures import Size

    columns, rows = 80, 24
    with suppress(OSError):
        columns, rows = os.get_terminal_size(1)
    return Size(rows=rows or 24, columns=columns or 80)


def known_keys(key: str) -> tuple[str, ...]:
    """Return the library's names for a key; none where it does not know the key."""
    from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES

    if key in ANSI_SEQUENCES and key != "\x1a":
        known = ANSI_SEQUENCES[key]
        return known if isinstance(known, tuple) else (known,)
    return ("escape", key[1]) if len(key) == 2 and key.isascii() and key[1].isalnum() else ()


def is_ours() -> bool:
    """Whether we are in the foreground."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # not our controlling terminal
        return True


def is_ready(descriptor: int, event: int) -> bool:
    """Whether a descriptor is readable or writable now."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(0))


def set_attributes(mode: list[Any]) -> None:
    """Set the terminal's mode; ignore an error, because the terminal may be gone."""
    with suppress(termios.error):
        termios.tcsetattr(0, termios.TCSANOW, mode)


def discard_typed() -> None:
    """Discard input that was not read yet."""
    with suppress(termios.error):
        termios.tcflush(0, termios.TCIFLUSH)
        is_ready(0, select.POLLIN)  # makes the kernel deliver input that is still in its buffers
        termios.tcflush(0, termios.TCIFLUSH)
