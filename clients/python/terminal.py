"""The terminal that standard input is, if it is one: typing while others talk (EDIT), and
passwords that are not shown (HIDE). Without one, it is a plain output.

It is in one of three modes:

    plain    the terminal's own way to take lines; also where there is no terminal
    hidden   the same without echo, while a password is typed
    edited   prompt_toolkit has the half-typed line; it stands below all else, behind its prompt

What it shows, it adds to `out`: the client writes that on standard output.

prompt_toolkit edits the line: keys, history, search and drawing are its own, in one session for
all lines. Its keys come from `read_line`, and what it draws goes to `out` while the line is to be
on the screen (`drawn`). So what it draws is not mixed up with lines that come.
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

READ_SIZE = 64 * 1024  # bytes read in one go
MAX_TYPED = 4095  # characters of an edited line: what a terminal itself takes
MAX_BEGUN = 4096  # characters of a server's line that has no end yet
MAX_KEY = 4096  # characters of what a key sends, or of what the terminal answers
MAX_HISTORY = 1000  # lines that Up brings back, at most
MAX_NAMES = 1000  # that TAB completes
ESCAPE_SECONDS = 0.5  # after Escape, for what would make it the beginning of a key
SEQUENCE_SECONDS = 2.0  # for the rest of a longer one

# Those that TAB completes (CMD-1, ACCT).
COMMANDS = ("/help", "/who", "/msg", "/nick", "/register", "/passwd", "/unregister", "/quit")

PASTE_MARKS = re.compile("\x1b\\[\\?2004[hl]")  # for all the time, not for each drawing
PASTE_BEGINS = "\x1b[200~"
PASTE_ENDS = "\x1b[201~"
WHOLE_KEY = re.compile(
    r"\x1b(?:\[M...|\[\[.|\[[0-?]+[ -/]*[@-~]|\[[ -/]*[@-LN-Z\\-~]|O."
    r"|[\]P_^X].*?(?:\a|\x1b\\)|[^\[O\]P_^X\x1b])|[\x00-\x1a\x1c-\x1f\x7f]|[^\x00-\x1f\x7f]+",
    re.DOTALL,
)
BEGUN_KEY = re.compile(r"\x1b(?:\[M.{0,2}|\[\[?|\[[0-?]*[ -/]*|O|[\]P_^X].*)?\Z", re.DOTALL)
STRAY_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*)?")  # what no key sends


class Terminal:
    """The terminal, and what is on it."""

    def __init__(self, own: Callable[[], str], moved: Callable[[], None]) -> None:
        self.own = own  # gives the prompt where the server's last line has ended (EDIT-2)
        self.moved = moved  # is called when the library has drawn something
        self.out = bytearray()  # what is to be written on standard output
        self.exists = os.isatty(0)
        self.ours = not self.exists  # the shell has not given it to another job
        self.edits = False  # lines can be edited; the end of the input ends that
        self.hidden = False  # a password is typed
        self.stops = False  # Ctrl+Z was pressed

        self.before: list[Any] = []  # the mode that it had, and is to have at the end
        self.changed = False  # it has another one
        self.ended = False  # and it stays as it was
        self.marks = False  # it marks what is pasted

        self.begun = ""  # what the server's last line has so far
        self.drawn = False  # the half-typed line is on the screen
        self.prompt_drawn = ""  # ... behind this
        self.names: dict[str, str] = {}  # in the room, by their small letters
        self.keys = ""  # the beginning of what a key sends
        self.since = 0.0  # when that came
        self.pasting = False
        self.decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        if self.exists and os.isatty(1) and os.environ.get("TERM", "") not in ("", "dumb"):
            with suppress(ImportError):
                self.start_library()

    def may_show(self) -> bool:
        """Whether standard output may be written to: in the background an editor waits quietly."""
        return self.ours or not self.edits

    def is_editing(self) -> bool:
        """Whether what is typed now is an edited line."""
        return self.edits and not self.hidden

    # -----------------------------------------------------------------------------------------
    # Modes
    # -----------------------------------------------------------------------------------------

    def take(self) -> bool:
        """Find out whether the terminal is ours; where it has become ours, give it our mode."""
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
        """Make the terminal, which is ours, do what we need. What was typed ahead stays."""
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
        if self.hidden and self.before[3] & termios.ECHO:  # else another shows what is typed
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
        """Ask the terminal to mark what is pasted, or not to, unless Ctrl+S holds it up."""
        if wanted != self.marks and is_ready(1, select.POLLOUT):
            with suppress(OSError):
                os.write(1, b"\x1b[?2004h" if wanted else b"\x1b[?2004l")
            self.marks = wanted

    def restore(self) -> None:
        """Give the terminal back as it was, for good (HIDE-4, EDIT-8)."""
        self.give_back()
        self.ended = True

    def give_back(self) -> None:
        """Do that. The rest of a password is not for the program that reads next (HIDE-2)."""
        if not self.changed or not is_ours():
            return
        if self.hidden:
            discard_typed()
        self.mark_pastes(False)
        set_attributes(self.before)
        self.changed = False

    def read(self) -> bytes | None:
        """Read what was typed, nothing where the input has ended; None where nothing was."""
        if not is_ready(0, select.POLLIN):  # it was dropped meanwhile
            return None
        try:
            return os.read(0, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return None if self.exists and not self.take() else b""

    def hide_typing(self) -> None:
        """Keep a password from being shown (HIDE-1). What is half typed is no part of it."""
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
        """Go back to what was before. What is half typed stays; see `drop_typed`."""
        if not self.hidden:
            return
        self.hidden = False
        if self.edits:
            self.out += b"\r\x1b[J"  # the prompt will be drawn anew
        if self.ours:
            self.set_mode()

    def drop_typed(self) -> None:
        """Drop what is half typed of a password (HIDE-2)."""
        if self.hidden and self.exists and is_ours():
            discard_typed()

    def end_editing(self) -> None:
        """Leave the half-typed line on the screen, and the terminal as it was."""
        if self.ours and self.hidden:
            self.end_row()
        self.leave()
        self.give_back()
        self.edits = self.hidden = False

    def stop(self) -> None:
        """Stop, with the terminal as it was, until we are told to go on (Ctrl+Z)."""
        self.give_back()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self.go_on()

    def go_on(self) -> None:
        """Take the terminal anew: others may have used it while the program was stopped."""
        self.ours = not self.exists
        self.drawn = self.stops = False
        self.take()

    # -----------------------------------------------------------------------------------------
    # Screen
    # -----------------------------------------------------------------------------------------

    def print_above(self, text: str) -> None:
        """Show harmless text: whole lines above the half-typed one, what has no end before it."""
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
        if len(self.begun) > MAX_BEGUN:  # longer than any server's: it might never end
            if self.is_editing():
                self.take_off()
                self.out += self.begun.encode() + b"\n"
            self.begun = ""

    def end_row(self) -> None:
        """End, on the screen, a line that the server cannot end any more."""
        if self.edits and self.begun:
            self.print_above("\n")

    def forget_row(self) -> None:
        """Take such a line off the screen, if a line is typed behind it."""
        self.take_off()
        self.begun = ""

    def prompt(self) -> str:
        """What stands before the half-typed line; the library would show a TAB as ^I."""
        return (self.begun or self.own()).replace("\t", " ")

    def wants_drawing(self) -> bool:
        """Whether the half-typed line, or its prompt, is not on the screen and is to be."""
        shown = self.drawn and self.prompt_drawn == self.prompt()
        return self.is_editing() and self.ours and not shown and not self.stops

    def draw(self, done: bool = False) -> None:
        """Put the half-typed line on the screen, behind its prompt; `done`: for good."""
        if not self.drawn:
            self.app.renderer.reset()
            self.drawn = True
        self.prompt_drawn = self.prompt()
        with self.in_library():
            self.app.renderer.render(self.app, self.app.layout, is_done=done)

    def take_off(self) -> None:
        """Take it off the screen: it gives way to something above it."""
        if self.drawn:
            self.app.renderer.erase()
            self.drawn = False

    def leave(self, entered: bool = False) -> None:
        """Leave it on the screen, with the cursor below it.

        A prompt of the client's own with nothing behind it goes, unless Enter was pressed (EDIT-3).
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
    # -----------------------------------------------------------------------------------------

    async def read_line(self, data: bytes, typed: Callable[[str], bool]) -> bool:
        """Take what the terminal sends; True where the user has ended the input.

        Calls `typed` for each line that Enter ends; it says whether the history may have it.
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
            if key in "\r\n":  # the library has its history ready one step of the loop later
                with self.in_library():
                    self.buffer.load_history_if_not_yet_loaded()
                await asyncio.sleep(0)
        return False

    def next_key(self) -> str:
        """Take what the first key has sent, nothing where that is not whole yet."""
        found = WHOLE_KEY.match(self.keys)
        if not found and BEGUN_KEY.match(self.keys) and len(self.keys) < MAX_KEY:
            return ""
        found = found or STRAY_KEY.match(self.keys)
        key = found[0] if found else ""
        self.keys = self.keys[len(key) :]
        return key

    def press(self, key: str) -> None:
        """Do what a key asks for.

        What is neither text nor a key that the library knows, such as an answer of the terminal,
        does nothing.
        """
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
        """Insert text; many letters at once, as for each the library looks for a key of its own."""
        if len(text) == 1 and text != "\t":
            self.feed(text)
        elif text:
            self.app.current_buffer.insert_text(text)

    def complete(self) -> None:
        """Complete the word before the cursor, where one command or name begins so (EDIT-6)."""
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
        """Remember who is in the room. Where there are too many, the one known longest goes."""
        self.names[name.lower()] = name
        if len(self.names) > MAX_NAMES:
            del self.names[next(iter(self.names))]

    def forget(self, name: str) -> None:
        """Forget one who is gone."""
        self.names.pop(name.lower(), None)

    # -----------------------------------------------------------------------------------------
    # The library
    # -----------------------------------------------------------------------------------------

    def start_library(self) -> None:
        """Begin the one session; to it, this class is the terminal."""
        from prompt_toolkit.input import create_pipe_input
        from prompt_toolkit.layout.processors import TabsProcessor
        from prompt_toolkit.output import ColorDepth
        from prompt_toolkit.output.vt100 import Vt100_Output
        from prompt_toolkit.shortcuts import PromptSession

        canvas = cast("TextIO", Canvas(self))
        self.silence = create_pipe_input()  # which nothing comes from: keys come by `feed`
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
        """Run the session, which never ends by itself."""
        if self.edits:
            running = self.session.prompt_async(set_exception_handler=False, handle_sigint=False)
            self.buffer.accept_handler = self.accept
            await running

    def in_library(self) -> AbstractContextManager[None]:
        """Give the context in which the library wants to be called."""
        from prompt_toolkit.application.current import set_app

        return set_app(self.app)

    def feed(self, *keys: str) -> None:
        """Let the library take keys, by its names for them; a letter is its own name."""
        from prompt_toolkit.key_binding import KeyPress
        from prompt_toolkit.keys import Keys

        presses = [KeyPress(key if len(key) == 1 else Keys(key)) for key in keys]
        with self.in_library():
            self.app.key_processor.feed_multiple(presses)
            self.app.key_processor.process_keys()

    def accept(self, buffer: Buffer) -> bool:
        """Pass on a line that was entered; it stays on the screen. The library calls this."""
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
        """Drop what is half typed."""
        from prompt_toolkit.search import stop_search

        with self.in_library():
            if self.app.layout.is_searching:
                stop_search()
        self.buffer.reset()
        self.keys, self.pasting = "", False


class Canvas:
    """What the library draws on."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def write(self, text: str) -> None:
        """Take what is drawn; while the line is to be off the screen, that is lost."""
        if self.terminal.drawn:
            self.terminal.out += PASTE_MARKS.sub("", text).encode(errors="replace")

    def flush(self) -> None:
        """Say so: the client writes it when the terminal takes it."""
        self.terminal.moved()


def window_size() -> Size:
    """Ask for the size of the window."""
    from prompt_toolkit.data_structures import Size

    columns, rows = 80, 24
    with suppress(OSError):
        columns, rows = os.get_terminal_size(1)
    return Size(rows=rows or 24, columns=columns or 80)


def known_keys(key: str) -> tuple[str, ...]:
    """Give the library's names for what a key has sent, none where it knows no such key."""
    from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES

    if key in ANSI_SEQUENCES and key != "\x1a":
        known = ANSI_SEQUENCES[key]
        return known if isinstance(known, tuple) else (known,)
    return ("escape", key[1]) if len(key) == 2 and key.isascii() and key[1].isalnum() else ()


def is_ours() -> bool:
    """Whether we are in the foreground."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # it is not the terminal that job control is for
        return True


def is_ready(descriptor: int, event: int) -> bool:
    """Whether a descriptor can be read, or written, now."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(0))


def set_attributes(mode: list[Any]) -> None:
    """Set the terminal's mode, at once. Where the terminal is gone, nothing can be done."""
    with suppress(termios.error):
        termios.tcsetattr(0, termios.TCSANOW, mode)


def discard_typed() -> None:
    """Discard what was typed and is not read, and what is on its way there."""
    with suppress(termios.error):
        termios.tcflush(0, termios.TCIFLUSH)
        is_ready(0, select.POLLIN)  # the kernel hands over what it has taken
        termios.tcflush(0, termios.TCIFLUSH)
