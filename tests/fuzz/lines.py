"""What people type, near the limits of the rules: lists of lines, each with one idea.

A list is drawn, then a line of it: so each idea comes as often, and each edge has its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

LIMIT = 1024  # bytes of a line (FRAME-4)
HOLE = "%"  # in a pattern: where something is put


def filled(patterns: str, things: Sequence[bytes]) -> list[list[bytes]]:
    """Each pattern with all choices of things for its holes, which are few."""
    parts = ([part.encode() for part in one.split(HOLE)] for one in patterns.split("|"))
    return [
        [
            first + b"".join(map(bytes.__add__, some, rest))
            for some in product(things, repeat=len(rest))
        ]
        for first, *rest in parts
    ]


def words(text: str) -> list[bytes]:
    return text.encode().split(b"|")


# FRAME-6: both ends of each range, with what is beside them; and all that is within.
RANGES = ((1, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069))
ENDS = [chr(code) for low, high in RANGES for code in (low - 1, low, high, high + 1)]
WITHIN = [chr(code) for low, high in RANGES for code in range(low, high + 1)]
# What other programs take for a space, a line end, or for nothing; ends of Unicode.
ALIKE = (
    "\xa0\xad\u061c\u200b\u200e\u2060\u3000\ufeff\ufffd\u0301\ud7ff\ue000\ufdd0\uffff"
    '\U00010000\U000e0001\U0010ffff\\"{}'
)
NOT_UTF8 = (
    "ff|c3|a4|c0 af|c1 bf|e0 9f bf|ed a0 80|ed bf bf|ed a0 bd ed b8 80|f0 8f bf bf|f0 9f 90|"
    "f4 90 80 80|f8 88 80 80"
)
PLACES = "%|x%|%x|x%x|/msg bob %|/nick %|/nick x%|//%|/%|/who%|/kick x%"
EDGES = filled(PLACES, [char.encode() for char in ENDS])
ODD = filled(
    PLACES,
    [*(char.encode() for char in [*WITHIN, *ALIKE]), *map(bytes.fromhex, NOT_UTF8.split("|"))],
)

SPACES = [b"", b" ", b"\t", b"  ", b" \t"]
BLANK = filled(
    "%|%|%ann%|%hi%two%|%/who%|/%who|/msg%ann%hi%|/msg%bob%%|/msg cat%hi%|/msg bob %hi%|//%x%|"
    "/nick%Bob%|/help%x|/quit%|/kick%ann%|/register%12345678%|/passwd%ann-secret%|/unregister%",
    [*SPACES, "\xa0".encode()],
)

# JOIN-2, JOIN-3: long ones, what stands beside letters and digits in ASCII, and other cases.
TAKEN = words("ann|bob|cat|dan|ANN|Bob|caT|witness|WITNESS")
RESERVED = words("server|Server|SERVER|serveR|servers|password|Password|PASSWORD|passworD|server1")
LONG_NAMES = [(unit * 64)[:size] for unit in words("n|N9|-_|ä") for size in (31, 32, 33, 64)]
ODD_NAMES = [b"a" + bytes([char]) for char in b"/09:@AZ[`az{^_,.-"]
ODD_NAMES += words("0|_|-x-|änn|a b||ann\xa0|/who")
NAMES = [*TAKEN, *RESERVED, *LONG_NAMES, *ODD_NAMES]
NAMED = filled("/nick %|/msg % hi|/msg %|/MSG %  x y|/NICK %|%", NAMES)
# What has an effect: the names of those who are there, in each case.
HERE = filled(
    "/nick %|/nick % |/msg % hi |/msg %  x|/msg %|/msg %  ", words("ann|bob|cat|Ann|BOB|caT")
)

WORDS = words("hi|two words|a: b|! no|(private) ann: x|<&>|//x|///|server: x")
VERBS = words(
    "/who|/WHO|/Who now|/help|/help|/HELP x|/msg|/nick|/|/ |///|/nope|/whom|/register|/passwd|"
    "/unregister|/kick ann|/shutdown|/hélp|/quit|/QUIT now| /quit|/quit\t"
)
OPERATORS = words("/help|/who|/kick|/kick ann x|/kick bob\xa0|/Quit|//x|/HELP x")

# FRAME-4: lines that are just short enough, or just too long, by their bytes; and before their end.
LONG = [
    (start + unit * LIMIT)[: LIMIT + more] + end
    for start in (*words("|/|//|/msg bob |/nick |/who | |\x07"), b"\xff")
    for unit in words("x| |ä|xä")
    for more in (-1, 0, 1, 2, 900)
    for end in (b"", b"\r", b"\r\r", b"\t")
]
# That, and the line's end, for packets that are cut there.
EXACT = [
    (start + b"x" * LIMIT)[: LIMIT + more] + end + b"\n"
    for start in (b"", b"/msg bob ")
    for more in (-2, -1, 0, 1, 2)
    for end in (b"", b"\r", b"\r\r", b"\r\r\r")
]
ENDLESS = [b"y" * 5000, b"y" * 70_000]

# ACCT-3, ACCT-10: 7, 8, 72 and 73 bytes, and as many characters.
SIZED = [(unit * 73)[:size] for unit in words("s|s |ä") for size in (7, 8, 72, 73)]
SECRETS = [*SIZED, *words("ann-secret|dan-secret|ANN-secret| ann-secret|ann-secret |ääää|")]
ACCOUNT = filled("/register %|/REGISTER  %|/passwd %|/unregister %|%", SECRETS)
