"""What a person sees on a screen. This is the only module that imports pyte, a terminal emulator.

Bytes say little about a screen. A program that edits a line moves the cursor, clears and draws
again, and each program does so in its own way. So an emulator gets the bytes, and steps name the
rows that a person then sees. The emulator gets all bytes at once, because a program may wait for
its answer to a query: where is the cursor, what kind of terminal is this. It knows no actor.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pyte
import pyte.modes
from wcwidth import wcwidth

from conformance.arguments import CURSOR, Pattern
from conformance.play.case.poll import Source

# Private modes of a terminal, as pyte numbers them.
_APPLICATION_KEYS = 1 << 5
_BRACKETED_PASTE = 2004 << 5

# Escape sequences that a program sends: control sequences (CSI) and strings (DCS, SOS, PM, APC).
_SEQUENCE = re.compile(rb"\x1b(?:\[([<=>?]?)([0-9;:]*)([ -/]*)([@-~])|[PX^_][^\x1b\x07]*\x1b\\)")
_ONE_CHARACTER = "\x9b".encode()  # stands for ESC [, too
_SECONDARY_ATTRIBUTES = b"\x1b[1c"  # stands for this query, since pyte knows only the primary one
_BEGUN = re.compile(rb"(?:\xc2|\x1b(?:\[[<=>?]?[0-9;:]*[ -/]*|[PX^_][^\x1b\x07]{0,4096}\x1b?)?)\Z")
_MOST = {b"H": 2, b"f": 2, b"r": 2, b"h": None, b"l": None}  # parameters that count; others: one

# Control sequences that pyte does not know; xterm does, and libraries use them.
_MORE = {
    "I": "tab_forward",
    "S": "scroll_up",
    "T": "scroll_down",
    "Z": "tab_back",
    "b": "repeat",
    "s": "save_cursor",
    "u": "restore_cursor",
}


class Screen:
    """A window of a given size, which shows what a program writes to its terminal."""

    def __init__(
        self, source: Source, columns: int, rows: int, reply: Callable[[bytes], object]
    ) -> None:
        self._window = _Window(columns, rows, reply)
        self._stream = _Stream(self._window)
        self._modes_at_first = set(self._window.mode)
        self._begun = b""  # an escape sequence whose end has not come yet
        self.changes = 0  # number of chunks that have come
        source.take = self._feed

    def resize(self, columns: int, rows: int) -> None:
        """Change the size; the text stays where it was, or is cut off."""
        self._window.resize(rows, columns)

    def keys(self, data: bytes) -> bytes:
        """The bytes that keys send on this terminal; some depend on a mode (DECCKM)."""
        if _APPLICATION_KEYS not in self._window.mode:
            return data
        return re.sub(rb"\x1b\[([ABCDHF])", b"\x1bO\\1", data)

    def pasted(self, data: bytes) -> bytes:
        """The bytes that a terminal sends for a pasted text: each line end becomes the Enter key.

        They are enclosed in marks if the program has turned on bracketed paste.
        """
        data = data.replace(b"\n", b"\r")
        if _BRACKETED_PASTE not in self._window.mode:
            return data
        return b"\x1b[200~" + data + b"\x1b[201~"

    def rows(self, *, cursor: bool) -> list[str]:
        """The rows up to the last one that is not blank, without trailing blanks.

        With `cursor`, the mark `CURSOR` is inserted where the cursor is.
        """
        rows = [self._row(y, cursor) for y in range(self._window.lines)]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def differs(self, which: str, wanted: list[Pattern], cursor: bool) -> tuple[str, str] | None:
        """The first row that differs, as (expected, seen); None if no row differs."""
        rows = self.rows(cursor=cursor)
        seen = rows[-len(wanted) :] if which == "last" else rows
        for number in range(max(len(wanted), len(seen))):
            one = wanted[number] if number < len(wanted) else Pattern("")
            row = seen[number] if number < len(seen) else ""
            if not _stripped(one).meets(row):
                where = f"row {number + 1 + len(rows) - len(seen)}"
                return f"{where}: {one}", f"{where}: {row}"
        return None

    def _feed(self, data: bytes) -> None:
        data = (self._begun + data).replace(_ONE_CHARACTER, b"\x1b[")
        begun = _BEGUN.search(data)
        self._begun = begun[0] if begun else b""
        self._stream.feed(_SEQUENCE.sub(self._known, data[: len(data) - len(self._begun)]))
        self.changes += 1

    def _known(self, found: re.Match[bytes]) -> bytes:
        """The sequence if pyte knows it, else b"": pyte shows parts of others as text, or fails.

        Surplus parameters are left out, as real terminals ignore them.
        """
        private, parameters, between, final = found.groups(b"")
        if (private, final) == (b">", b"c"):
            return _SECONDARY_ATTRIBUTES
        known = not private or (private == b"?" and final in b"hlJK")
        if not known or not final or between or final == b"m" or b":" in parameters:
            return b""
        counting = parameters.split(b";")[: _MOST.get(final, 1)]
        return b"\x1b[" + private + b";".join(counting) + final

    def _row(self, y: int, cursor: bool) -> str:
        cells = [self._window.buffer[y][x].data for x in range(self._window.columns)]
        if cursor and y == self._window.cursor.y:
            cells.insert(min(self._window.cursor.x, len(cells)), CURSOR)
        return "".join(cells).rstrip(" ")

    def left_changed(self) -> list[str]:
        """The modes of the terminal that a program has changed and not restored, as texts."""
        changed = ["the cursor is hidden"] if self._window.cursor.hidden else []
        if self._window.mode != self._modes_at_first:
            changed.append("the terminal's modes are changed")
        return changed


class _Stream(pyte.ByteStream):
    """pyte's parser, which knows more sequences, and goes on after one that pyte cannot use."""

    def __init__(self, window: _Window) -> None:
        self.csi = {**pyte.ByteStream.csi, **_MORE}
        super().__init__(window)

    def _send_to_parser(self, data: str) -> bool | None:
        try:
            return super()._send_to_parser(data)
        except (TypeError, ValueError, LookupError, UnboundLocalError, AssertionError):
            return True  # the parser has begun again; real terminals ignore such sequences


class _Window(pyte.Screen):
    """pyte's screen, corrected where real terminals behave in another way."""

    def __init__(self, columns: int, rows: int, reply: Callable[[bytes], object]) -> None:
        super().__init__(columns, rows)
        self._reply = reply
        self._drawn = ""  # the last character, which can be repeated

    def draw(self, data: str) -> None:
        """Draw text; called by pyte. A wide character in the last column goes to the next row."""
        self._drawn = data[-1:]
        for char in data:
            last = self.cursor.x == self.columns - 1
            if last and wcwidth(char) == 2 and pyte.modes.DECAWM in self.mode:
                self.cursor.x = self.columns
            super().draw(char)

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Change the size. Rows below the cursor are removed first; pyte removes the top ones."""
        assert lines is not None
        assert columns is not None
        surplus = self.cursor.y + 1 - lines
        if surplus > 0:
            self.cursor.y, y = 0, self.cursor.y
            self.delete_lines(surplus)
            self.cursor.y = y - surplus
        kept = {
            y: {x: cell for x, cell in row.items() if x < columns}
            for y, row in self.buffer.items()
            if y < lines
        }
        self.lines, self.columns = lines, columns
        for y in list(self.buffer):
            self.buffer[y].clear()
            self.buffer[y].update(kept.get(y, {}))
        self.set_margins()
        self.cursor.x = min(self.cursor.x, columns - 1)

    def delete_lines(self, count: int | None = None) -> None:
        """Remove rows at the cursor; called by pyte, which keeps one above a row without text."""
        for y in range(self.lines):
            self.buffer[y]  # makes the row, if nothing was drawn in it yet
        super().delete_lines(count)

    def repeat(self, count: int = 1) -> None:
        """Draw the last character again, for at most a row; called by the parser (REP)."""
        self.draw(self._drawn * min(count or 1, self.columns))

    def tab_forward(self, count: int = 1) -> None:
        """Move to a later tab stop; called by the parser (CHT)."""
        stops = sorted(stop for stop in self.tabstops if stop > self.cursor.x)
        self.cursor.x = ([*stops, self.columns - 1])[: count or 1][-1]

    def tab_back(self, count: int = 1) -> None:
        """Move to an earlier tab stop; called by the parser (CBT)."""
        stops = sorted((stop for stop in self.tabstops if stop < self.cursor.x), reverse=True)
        self.cursor.x = ([*stops, 0])[: count or 1][-1]

    def scroll_up(self, count: int = 1) -> None:
        """Remove rows at the top of the scrolling region; called by the parser (SU)."""
        self._at_top(self.delete_lines, count)

    def scroll_down(self, count: int = 1) -> None:
        """Insert rows at the top of the scrolling region; called by the parser (SD)."""
        self._at_top(self.insert_lines, count)

    def _at_top(self, change: Callable[[int], None], count: int) -> None:
        """Change rows as if the cursor were there, and leave it where it is."""
        x, y = self.cursor.x, self.cursor.y
        self.cursor.y = self.margins.top if self.margins else 0
        change(count or 1)
        self.cursor.x, self.cursor.y = x, y

    def save_cursor(self, *_: int) -> None:
        """Save the place of the cursor; called by pyte, which would keep the earlier ones."""
        self.savepoints.clear()
        super().save_cursor()

    def restore_cursor(self, *_: int) -> None:
        """Go to the saved place, any number of times; called by pyte, which would forget it."""
        super().restore_cursor()
        super().save_cursor()

    def report_device_status(self, mode: int = 0, **kwargs: bool) -> None:
        """Answer a query for the cursor's place; behind a full row, it is in its last column."""
        x = self.cursor.x
        self.cursor.x = min(x, self.columns - 1)
        super().report_device_status(mode)
        self.cursor.x = x

    def report_device_attributes(self, mode: int = 0, **kwargs: bool) -> None:
        """Answer a query for device attributes: primary ones as a VT102, secondary as a VT100."""
        self.write_process_input("\x1b[>0;10;0c" if mode else "\x1b[?6c")

    def write_process_input(self, data: str) -> None:
        """Send the answer to a query; called by pyte."""
        self._reply(data.encode())


def _stripped(pattern: Pattern) -> Pattern:
    return Pattern(pattern.text.rstrip(" "), pattern.how) if pattern.how == "is" else pattern
