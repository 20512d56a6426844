"""The terminal of the right client: hides what is typed, and edits lines."""

from __future__ import annotations

import codecs
import os
import re
import termios
import unicodedata
from collections.abc import Callable, Iterator

KEYBOARD, SCREEN = 0, 1

# A key: an escape sequence, a letter with Alt, or a single character. A terminal's answer to a
# query may be a string that ends with BEL or ESC \.
KEY = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[]P^_X].*?(?:\a|\x1b\\\\)|\x1b[^][OP^_X\x1b]|[^\x1b]",
    re.DOTALL,
)
COMMANDS = ("/help", "/who", "/msg", "/nick", "/register", "/passwd", "/unregister", "/quit")
NAMES = {
    "\x1b[D": "left",
    "\x1b[C": "right",
    "\x1b[H": "home",
    **dict.fromkeys(("\x1bOH", "\x1b[1~", "\x1b[7~", "\x01"), "home"),
    "\x1b[F": "end",
    **dict.fromkeys(("\x1bOF", "\x1b[4~", "\x1b[8~", "\x05"), "end"),
    "\x7f": "backspace",
    "\b": "backspace",
    "\x1b[3~": "delete",
    "\x0b": "kill_rest",
    "\x15": "kill_beginning",
    "\x17": "kill_word",
    "\x1b[A": "older",
    "\x1b[B": "newer",
    "\x0c": "clear_screen",
    "\t": "complete",
    "\x1b[200~": "begin_paste",
    "\x1b[201~": "end_paste",
}


def is_terminal() -> bool:
    return os.isatty(KEYBOARD)


def is_ours() -> bool:
    """Whether we are in the foreground; true if there is no terminal or no shell."""
    try:
        return os.tcgetpgrp(KEYBOARD) == os.getpgrp()
    except OSError:
        return True


def can_edit() -> bool:
    return is_terminal() and os.isatty(SCREEN) and os.environ.get("TERM", "") not in ("", "dumb")


class Terminal:
    """The settings of the terminal at standard input, if it is a terminal."""

    def __init__(self) -> None:
        self.before = termios.tcgetattr(KEYBOARD) if is_terminal() else None
        self.marks_pastes = False

    def hide_typing(self) -> None:
        if self.before and self.before[3] & termios.ECHO:
            self.change(off=termios.ECHO, on=termios.ECHONL)

    def forget_typed(self) -> None:
        if self.before:
            termios.tcflush(KEYBOARD, termios.TCIFLUSH)

    def edit(self) -> None:
        self.change(off=termios.ECHO | termios.ICANON, on=0)
        self.mark_pastes(True)

    def mark_pastes(self, wanted: bool) -> None:
        if self.marks_pastes != wanted:
            os.write(SCREEN, b"\x1b[?2004h" if wanted else b"\x1b[?2004l")
            self.marks_pastes = wanted

    def restore(self) -> None:
        if self.before:
            self.mark_pastes(False)
            termios.tcsetattr(KEYBOARD, termios.TCSADRAIN, self.before)

    def change(self, off: int, on: int) -> None:
        if self.before:
            changed = [*self.before]
            changed[3] = changed[3] & ~off | on
            termios.tcsetattr(KEYBOARD, termios.TCSADRAIN, changed)


def width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class Editor:
    """A line that is edited at the bottom of the screen; all other output appears above it."""

    KEY = KEY
    SECRETS = re.compile("/(register|passwd) ", re.IGNORECASE)

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.own = ""  # the client's prompt, shown when the server's output ends with a whole line
        self.drawn = ""  # the prompt that is on the screen
        self.names: dict[str, str] = {}  # names in the room, by lower-cased name
        self.pasting = False
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self.typed = ""  # the beginning of a key's sequence
        self.prompt = ""
        self.text = ""
        self.place = 0
        self.history: list[str] = []
        self.back = 0  # how many lines back in the history
        self.half = ""  # the line that was being typed before the history was used
        self.asks = True  # the line answers a prompt of the server
        self.row = 0  # rows between the first row of the line and the cursor
        self.ended = False

    # Drawing

    @property
    def lead(self) -> str:
        """The text before the line: a prompt of the server or of the client."""
        return self.prompt or self.own

    def columns(self) -> int:
        return os.get_terminal_size(SCREEN).columns or 80

    def spots(self) -> list[tuple[int, int]]:
        """The row and column of each character of prompt and line, and of the place behind them."""
        row = column = 0
        spots = []
        for char in self.lead + self.text:
            wide = 8 - column % 8 if char == "\t" else width(char)
            if wide and column + wide > self.columns():
                row, column = row + 1, 0
            spots.append((row, column))
            column += wide
        return [*spots, (row + 1, 0) if column >= self.columns() else (row, column)]

    def draw(self) -> None:
        spots = self.spots()
        rows, column = spots[-1]
        self.write("".join(self.shown(spots)))
        if rows and column == 0:
            self.write("\r\n")  # most terminals keep the cursor in the last column
        row, column = spots[len(self.lead) + self.place]
        self.write(f"\x1b[{rows - row}A" if rows > row else "")
        self.write(f"\r\x1b[{column}C" if column else "\r")
        self.row, self.drawn = row, self.lead

    def shown(self, spots: list[tuple[int, int]]) -> Iterator[str]:
        for char, (_, column) in zip(self.lead + self.text, spots, strict=False):
            yield " " * (8 - column % 8) if char == "\t" else char

    def erase(self) -> None:
        self.write(f"\x1b[{self.row}A" if self.row else "")
        self.write("\r\x1b[J")
        self.row = 0

    def redraw(self) -> None:
        self.erase()
        self.draw()

    def show(self, text: str) -> None:
        """Show whole lines above the line; the rest of the text is the new prompt."""
        self.erase()
        whole, end, rest = (self.prompt + text).rpartition("\n")
        self.write(whole + end)
        self.prompt = rest
        self.draw()

    def leave(self) -> None:
        """Leave the line on the screen, and move the cursor below it."""
        place, self.place = self.place, len(self.text)
        self.redraw()
        if self.spots()[-1][1]:
            self.write("\r\n")
        self.place, self.row = place, 0

    def go(self) -> None:
        """Like `leave`, but erase the client's prompt if the line is empty."""
        if self.prompt or self.text:
            self.leave()
        else:
            self.erase()

    # Keys

    def feed(self, data: bytes) -> list[str]:
        """Handle these bytes from the keyboard; returns the lines that they finish."""
        self.typed += self.decoder.decode(data)
        lines: list[str] = []
        while self.typed and not self.ended and (key := self.KEY.match(self.typed)):
            self.typed = self.typed[key.end() :]
            self.on_key(key[0], lines)
        self.redraw()
        return lines

    def on_key(self, key: str, lines: list[str]) -> None:
        if key in ("\r", "\n"):
            lines.append(self.enter())
        elif self.pasting and key != "\x1b[201~":
            self.insert(key if key == "\t" or key.isprintable() else "")
        elif key == "\x04" and not self.text:
            self.ended = True
        elif key in NAMES:
            getattr(self, NAMES[key])()
        elif key.isprintable() or not width(key[0]):
            self.insert(key)

    def enter(self) -> str:
        self.leave()
        line, self.text, self.place, self.prompt, self.back = self.text, "", 0, "", 0
        if not self.asks:
            self.keep(line)
        return line

    def keep(self, line: str) -> None:
        if line and line != "".join(self.history[-1:]) and not self.SECRETS.match(line):
            self.history.append(line)

    def insert(self, text: str) -> None:
        self.text = self.text[: self.place] + text + self.text[self.place :]
        self.place += len(text)

    def cut(self, start: int, end: int) -> None:
        self.text, self.place = self.text[:start] + self.text[end:], start

    def left(self) -> None:
        self.place = self.step(-1)

    def right(self) -> None:
        self.place = self.step(1)

    def step(self, by: int) -> int:
        """The next place, without stopping inside a character with combining marks."""
        place = min(max(self.place + by, 0), len(self.text))
        while 0 < place < len(self.text) and not width(self.text[place]):
            place += by
        return place

    def home(self) -> None:
        self.place = 0

    def end(self) -> None:
        self.place = len(self.text)

    def backspace(self) -> None:
        self.cut(self.step(-1), self.place)

    def delete(self) -> None:
        self.cut(self.place, self.step(1))

    def kill_rest(self) -> None:
        self.cut(self.place, len(self.text))

    def kill_beginning(self) -> None:
        self.cut(0, self.place)

    def kill_word(self) -> None:
        self.cut(self.word_start(), self.place)

    def word_start(self) -> int:
        before = self.text[: self.place].rstrip(" ")
        return before.rfind(" ") + 1

    def older(self) -> None:
        self.recall(self.back + 1)

    def newer(self) -> None:
        self.recall(self.back - 1)

    def recall(self, back: int) -> None:
        if not 0 <= back <= len(self.history):
            return
        if self.back == 0:
            self.half = self.text
        self.back = back
        self.text = self.history[-back] if back else self.half
        self.end()

    def begin_paste(self) -> None:
        self.pasting = True

    def end_paste(self) -> None:
        self.pasting = False

    def complete(self) -> None:
        before = self.text[: self.place]
        start = before.rfind(" ") + 1
        word = before[start:].lower()
        found = [one for one in self.candidates(start) if one.lower().startswith(word)]
        if word and len(found) == 1:
            self.cut(start, self.place)
            self.insert(found[0])

    def candidates(self, start: int) -> list[str]:
        """What can complete a word at this place: commands or names."""
        return [*self.names.values()] if start else [*COMMANDS]

    def clear_screen(self) -> None:
        self.write("\x1b[H\x1b[2J")
        self.row = 0
