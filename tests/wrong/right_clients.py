"""Right clients that do in another way what a rule leaves open: no scenario may accuse them.

Each names the scenarios that could. `python -m wrong.right_clients --variant NAME …`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from wrong.right_client import Client
from wrong.terminal import Editor
from wrong.variant import Variants

VARIANTS = Variants()
right = VARIANTS.right


@right("reconnect/refused-with-more-to-come")
class ShowsWhatComesBehindARefusal(Client):
    def on_piece(self, piece: bytes) -> None:
        super().on_piece(piece)
        self.refuses, self.refused = self.refused, False

    def on_server(self, data: bytes) -> None:
        self.refuses = False
        first, _, rest = data.partition(b"\n")
        super().on_server(data if not self.is_away() else first + b"\n")
        if self.refuses:
            self.show(rest)
            self.refused = True


@right("jobs/resized-while-stopped")
class LeavesTheLastColumnEmpty(Client):
    class editing(Editor):
        def columns(self) -> int:
            return super().columns() - 1

        def shown(self, spots: list[tuple[int, int]]) -> Iterator[str]:
            before = 0
            for text, (row, _) in zip(super().shown(spots), spots, strict=False):
                yield "\r\n" + text if row > before else text
                before = row


@right("screen/longer-than-the-window")
class RemovesRowsToEraseALine(Client):
    """It uses `dl` of terminfo."""

    class editing(Editor):
        def erase(self) -> None:
            self.write(f"\x1b[{self.row}A" if self.row else "")
            self.write(f"\r\x1b[{self.spots()[-1][0] + 1}M")
            self.row = 0


@right("screen/wide-characters")
class SavesThePlaceOfTheCursor(Client):
    """It uses the sequences of xterm that are not in terminfo."""

    class editing(Editor):
        def draw(self) -> None:
            row, _ = self.spots()[len(self.lead) + self.place]
            self.write(self.lead + self.text[: self.place] + "\x1b[s")
            self.write(self.text[self.place :] + "\x1b[u")
            self.row, self.drawn = row, self.lead


if __name__ == "__main__":
    sys.exit(VARIANTS.main())
