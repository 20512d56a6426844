"""Each mistake in a file is reported with its place and a remedy, and never by a stack trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tiny import PROTOCOL, SUITE, read_scenarios, write_files, write_suite

from conformance.mistakes import Mistake
from conformance.read import manifest
from conformance.read.scenario import load

# A scenario; the steps of each test begin at line 7, column 5.
HEAD = """\
- id: it
  title: It
  proves: [ECHO-1]
  cast: {ann: wire, bob: client, tom: server on pipes}
  steps:
    - server: starts
"""

RIGHT = """\
- id: it
  title: It
  proves: [ECHO-1]
  cast: {ann: wire}
  steps:
    - server: starts
    - ann: starts
    - ann: closes
"""

# For each: the wrong steps; the place of the mistake; words of the message; and bob's entry in the
# cast, if it is not `client`.
STEPS: dict[str, tuple[str, ...]] = {
    "an unknown verb": (
        "- ann: {seees: hello}",
        "7:13",
        "unknown verb `seees`; did you mean `sees`?",
    ),
    "an unknown verb without an argument": (
        "- ann: startz",
        "7:12",
        "unknown verb `startz`; did you mean `starts`?",
    ),
    "a verb that is like none": ("- ann: {jumps: high}", "7:13", "known: accepts, closes"),
    "an actor that is not in the cast": (
        "- anna: starts",
        "7:7",
        "`anna` is not in the cast; did you mean `ann`?",
    ),
    "a group that nobody is in": (
        "- everyone in hall: {sees: hello}",
        "7:7",
        "`everyone in hall` names no actor at this point",
    ),
    "an unknown group's outside": (
        "- ann: starts\n- everyone outside hal: {sees: hello}",
        "8:7",
        "no such group `hal`; did you mean `hall`?",
    ),
    "a step before the start": ("- ann: {types: hello}", "7:12", "ann has not started"),
    "a second start": ("- ann: starts\n- ann: starts", "8:12", "ann has started already"),
    "a step after the end": (
        "- ann: starts\n- ann: is_closed\n- ann: {types: hello}",
        "9:12",
        "ann has ended",
    ),
    "a verb for another kind of actor": (
        "- ann: starts\n- ann: {presses: Ctrl+D}",
        "8:7",
        "ann is a wire, and `presses` is for: client, server",
    ),
    "a shorthand for another kind of actor": (
        "- server: ends",
        "7:7",
        "`ends` is not for a server",
    ),
    "a key for one without a terminal": (
        "- tom: starts\n- tom: {presses: Ctrl+D}",
        "8:7",
        "tom has no terminal, so `presses` is not for it; see `is_sent`",
    ),
    "no argument": ("- ann: starts\n- ann: sees", "8:7", "`sees` needs an argument"),
    "an empty argument": ("- ann: starts\n- ann: {sees: }", "8:7", "`sees` needs an argument"),
    "an argument where none is taken": (
        "- ann: starts\n- ann: {is_closed: now}",
        "8:24",
        "`is_closed` takes no argument",
    ),
    "options for a wire's start": (
        "- ann: {starts: {port: 1}}",
        "7:21",
        "`starts` takes no argument here",
    ),
    "a shorthand's argument where none is taken": (
        "- ann: starts\n- ann: {ends: now}",
        "8:19",
        "`ends` takes no argument",
    ),
    "a shorthand's argument that is no text": (
        "- ann: {comes: 5}",
        "7:20",
        "name must be text, not a number; put it in quotes",
    ),
    "a shorthand's argument of two lines": (
        '- ann: {comes: "a\\nb"}',
        "7:7",
        "a line cannot hold a line end; write several as a list (in `greets`, suite.yaml:15:28)",
    ),
    "a shorthand that stands for itself": (
        "- ann: turns",
        "7:7",
        "the verb `turns` is defined by itself",
    ),
    "an unknown option": (
        "- ann: starts\n- ann: {sees: hello, withn: 1}",
        "8:26",
        "`sees` has no option `withn`; did you mean `within`?",
    ),
    "an option of another verb": (
        "- ann: starts\n- ann: {sees: hello, under: nice}",
        "8:26",
        "`sees` has no option `under`",
    ),
    "an option for another kind of actor": (
        "- ann: {starts: , under: nice}",
        "7:23",
        "the option `under` is for: client, server",
    ),
    "an option that no step of a shorthand takes": (
        "- ann: {comes: ann, under: nice}",
        "7:32",
        "no step of `comes` takes the option `under`",
    ),
    "a time that is no number": (
        "- ann: starts\n- ann: {sees: hello, within: soon}",
        "8:34",
        "seconds must be a number, not text",
    ),
    "a time without end": (
        "- ann: starts\n- ann: {sees: hello, within: .inf}",
        "8:34",
        "seconds must be a plain decimal number such as `90` or `0.5`, not `.inf`",
    ),
    "an option that is no command line": (
        '- tom: {starts: , under: "nice \'x"}',
        "7:30",
        "not a command line: ",
    ),
    "a start where none was": (
        "- tom: {starts: , same_port: maybe}",
        "7:34",
        "say `yes`, or leave it out",
    ),
    "two verbs in one step": (
        "- ann: starts\n- ann: {types: hello, sees: hello}",
        "8:12",
        "a step has one verb, not types and sees; make two steps",
    ),
    "no verb in a step": (
        "- ann: {within: 1}",
        "7:12",
        "a step needs a verb, such as `{types: hello}`",
    ),
    "two actors in one step": (
        "- {ann: starts, bob: starts}",
        "7:7",
        "a step has one key, its actor, such as `server: starts`",
    ),
    "a step that is a text": ("- ann starts", "7:7", "a step must be a mapping"),
    "a step that is empty": ("-", "7:6", "a step must be a mapping (`key: value`), not empty"),
    "a number where a text is meant": (
        "- ann: starts\n- ann: {types: 5}",
        "8:20",
        "a line must be text, not a number; put it in quotes",
    ),
    "a bare word that YAML makes a truth": (
        "- ann: starts\n- ann: {types: yes}",
        "8:20",
        "a line must be text, not yes/no; put it in quotes",
    ),
    "an unquoted colon": (
        "- ann: starts\n- ann: {sees: bob: hello}",
        "8:22",
        "quote text that holds `: `",
    ),
    "a mapping where a line is meant": (
        "- ann: starts\n- ann:\n    sees:\n      bob: hello",
        "10:11",
        "unknown key `bob` in a line",
    ),
    "a line with a line end": (
        '- ann: starts\n- ann: {types: "a\\nb"}',
        "8:20",
        "write several as a list",
    ),
    "a line said in two ways": (
        "- ann: starts\n- ann: {sees: {starts: a, ends: b}}",
        "8:19",
        "describe the line by one of: line, starts, ends, contains, matches",
    ),
    "a pattern that is typed": (
        "- ann: starts\n- ann: {types: {starts: a}}",
        "8:20",
        "what is typed must be a text, not a pattern",
    ),
    "a bad regular expression": (
        '- ann: starts\n- ann: {sees: {matches: "a("}}',
        "8:29",
        "not a regular expression: ",
    ),
    "a regular expression that is none once it is filled": (
        '- ann: starts\n- ann: {sees: {matches: "[z-{scratch}]"}}',
        "8:29",
        "not a regular expression: bad character range z-/",
    ),
    "a regular expression that is too big": (
        '- ann: starts\n- ann: {sees: {matches: "a{99999999999}"}}',
        "8:29",
        "not a regular expression",
    ),
    "bad hex": (
        "- ann: starts\n- ann: {sends: {hex: fff}}",
        "8:26",
        'not hex; write pairs of hexadecimal digits, such as "ff 0a"',
    ),
    "bytes said in two ways": (
        '- ann: starts\n- ann: {sends: {hex: "ff", text: a}}',
        "8:20",
        "bytes are either `text` or `hex`",
    ),
    "more times than make sense": (
        '- ann: starts\n- ann: {sends: {text: "0123456789", times: 99999999}}',
        "8:48",
        "times must be a whole number from 1 to 67108864",
    ),
    "more bytes than there is room for": (
        '- ann: starts\n- ann: {sends: {text: "0123456789", times: 67108864}}',
        "8:20",
        "more than 64 MiB",
    ),
    "no times at all": (
        "- ann: starts\n- ann: {sees: {line: a, times: 0}}",
        "8:36",
        "times must be 1 or more",
    ),
    "half a time": (
        "- ann: starts\n- ann: {sees: {line: a, times: 1.5}}",
        "8:36",
        "times must be a whole number from 1 to 1000000",
    ),
    "endless times": (
        "- ann: starts\n- ann: {sees: {line: a, times: .inf}}",
        "8:36",
        "times must be a plain decimal number such as `90` or `0.5`, not `.inf`",
    ),
    "a count without times": (
        '- ann: starts\n- ann: {sees: "line {n}"}',
        "8:19",
        "`{n}` counts lines; write `{line: …, times: …}`",
    ),
    "an unfilled placeholder": (
        '- ann: starts\n- ann: {sees: "hello {nmae}"}',
        "8:19",
        "nothing fills the placeholder `{nmae}`",
    ),
    "a count among bytes": (
        '- ann: starts\n- ann: {sends: "{n}"}',
        "8:20",
        "`{n}` counts lines",
    ),
    "an unknown key of the keyboard": (
        "- server: {presses: Ctrl-C}",
        "7:25",
        "no such key `Ctrl-C`; did you mean `Ctrl+C`?",
    ),
    "an unknown signal": (
        "- server: {is_sent: SIGTREM}",
        "7:25",
        "no such signal `SIGTREM`; did you mean `SIGTERM`?",
    ),
    "an exit status out of range": ("- server: {exits: 256}", "7:23", "an exit status is 0 to 255"),
    "an exit status that is none": ("- server: {exits: well}", "7:23", "no such signal `well`"),
    "a size that is none": (
        "- server: {grows_less_than: 16MB}",
        "7:33",
        "a size is a number and KiB, MiB or GiB, such as `16 MiB`",
    ),
    "no time to idle": ("- server: {idles_for: 0}", "7:27", "seconds must be 0.01 or more"),
    "Ctrl+C straight after typing": (
        "- server: {types: hello}\n- server: {presses: Ctrl+C}",
        "8:15",
        "Ctrl+C discards what was typed before",
    ),
    "a line too long for a terminal": (
        f"- server: {{types: {'x' * 4096}}}",
        "7:15",
        "a terminal cuts lines at 4095 bytes; use a wire",
    ),
    "a control character on a terminal": (
        '- server: {types: "a\\x04"}',
        "7:15",
        "a terminal acts on control characters; use a wire, or `presses`",
    ),
    "no texts to print": (
        "- server: {prints: []}",
        "7:24",
        "an empty list; name a text",
    ),
    "an empty prompt": (
        '- ann: starts\n- ann: {is_asked: ""}',
        "8:23",
        "an empty text",
    ),
    "a program that still runs at the end": (
        "- tom: starts",
        "7:7",
        "tom still takes part at the end; end it by `exits`",
    ),
    "a wire that does not read at the end": (
        "- ann: starts\n- ann: stops_reading",
        "8:7",
        "ann does not read at the end; add `reads_again` or `resets`",
    ),
    "a wire that is gone but counted": (
        "- ann: comes\n- ann: resets",
        "8:7",
        "ann has ended, but is still in hall; add `- ann: {leaves: hall}`",
    ),
    "something said after the end of input": (
        "- ann: starts\n- ann: ends_input\n- ann: {types: hello}",
        "9:12",
        "the input of ann has ended",
    ),
    "nothing to be seen outside the group": (
        "- ann: starts\n- ann: sees_nothing",
        "8:7",
        "`sees_nothing` needs a fence in the suite, and ann in its group",
    ),
    "one who leaves without having come": (
        "- ann: starts\n- ann: {leaves: hall}",
        "8:7",
        "ann is not in hall",
    ),
    "one who enters nothing": (
        "- ann: starts\n- ann: enters",
        "8:7",
        "`enters` needs an argument: group",
    ),
    "an order that nobody saw": (
        "- ann: starts\n- ann: {sees_as: bob}",
        "8:12",
        "`bob` has no step `sees_all` before this step",
    ),
    "an unknown rule of a step": (
        "- ann: starts\n- ann: {sees: hello, proves: ECHO-9}",
        "8:34",
        "no such rule `ECHO-9`; did you mean `ECHO-",
    ),
    "a duplicate key": (
        "- ann: {types: hello, types: hello}",
        "7:27",
        "`types` appears twice; the first is at file.yaml:7:13",
    ),
    "a tab": ("-\tann: starts", "7:6", "a tab; indent with spaces"),
    "an undefined alias": ("- ann: *starts", "7:12", "no value `&starts` ends before the alias"),
    "a tag": ("- ann: !!python/name:os.system x", "7:12", "tags are not supported"),
    "a key that is a list": ("- [ann]: starts", "7:7", "a key must be plain text"),
    "a key with a tag": ("- !!str ann: starts", "7:7", "a key must be plain text"),
    "a merge": ("- &a {ann: starts}\n- {<<: *a}", "8:8", "merge keys (`<<`) are not supported"),
    "half a character": (
        '- ann: starts\n- ann: {types: "\\ud800"}',
        "8:23",
        "not YAML: while parsing a quoted scalar found invalid Unicode character escape code",
    ),
    # Steps that claim nothing.
    "no line to see": ("- ann: starts\n- ann: {sees: []}", "8:19", "an empty list; name a line"),
    "no line among lines": ("- ann: starts\n- ann: {sees: [a, []]}", "8:23", "an empty list; name"),
    "no line to receive": ("- ann: starts\n- ann: {receives: []}", "8:23", "an empty list; name"),
    "no lines in any order": ("- ann: starts\n- ann: {sees_all: []}", "8:23", "an empty list"),
    "no line of some": ("- ann: starts\n- ann: {sees_all: [[]]}", "8:24", "an empty list; name"),
    "no complaint": ("- server: {complains: []}", "7:27", "an empty list; name a line"),
    "no last complaint": ("- server: {complains: {last: []}}", "7:34", "an empty list; name"),
    "no last row": ("- bob: {shows: {last: []}}", "7:27", "an empty list", "client on a screen"),
    "nothing typed": ("- ann: starts\n- ann: {types: []}", "8:20", "an empty list; name"),
    "no bytes in a list": ("- ann: starts\n- ann: {sends: []}", "8:20", "no bytes"),
    "no bytes in a text": ('- ann: starts\n- ann: {sends: ""}', "8:20", "no bytes"),
    "no bytes in hex": ('- ann: starts\n- ann: {sends: {hex: ""}}', "8:20", "no bytes"),
    "nothing dribbled": ('- ann: starts\n- ann: {dribbles: ""}', "8:23", "no bytes"),
    "no key": ("- server: {presses: []}", "7:25", "an empty list; name a key"),
    "no file": ('- server: {makes: ""}', "7:23", "an empty text"),
    "any file": (
        '- server: {makes: a, holding: "x*"}',
        "7:35",
        "it matches any file, so it claims nothing",
    ),
    "no command": ('- server: {runs: " "}', "7:22", "an empty command; name the program to run"),
    "an empty command word": ("- server: {runs: \"''\"}", "7:22", "an empty command"),
    "under nothing": ('- tom: {starts: , under: ""}', "7:30", "an empty command"),
    "a signal that is always taken": (
        "- tom: {starts: , ignored: [SIGINT, SIGKILL]}",
        "7:41",
        "no program can block or ignore SIGKILL",
    ),
    "no signal to block": ("- tom: {starts: , blocked: []}", "7:32", "an empty list; name"),
    "no socket option": ("- server: {has_socket_option: {}}", "7:35", "no option is named"),
    "a line that starts with nothing": (
        '- ann: starts\n- ann: {sees: {starts: ""}}',
        "8:28",
        "`starts` with an empty text is true of any line",
    ),
    "a line that ends with nothing": (
        '- ann: starts\n- ann: {sees: {ends: ""}}',
        "8:26",
        "`ends` with an empty text is true of any line",
    ),
    "a line that contains nothing": (
        '- ann: starts\n- ann: {sees: {contains: ""}}',
        "8:30",
        "`contains` with an empty text is true of any line",
    ),
    "any line": (
        '- ann: starts\n- ann: {sees: {matches: ".*"}}',
        "8:29",
        "any line matches it, so it claims nothing",
    ),
    "any line in other words": (
        '- ann: starts\n- ann: {sees: {matches: "(?s:.)*|[^x]+"}}',
        "8:29",
        "any line matches it, so it claims nothing",
    ),
    "an empty expression": (
        '- ann: starts\n- ann: {sees: {matches: ""}}',
        "8:29",
        'only an empty line matches it; write that as `""`',
    ),
    "an object without keys": (
        "- ann: starts\n- ann: {sees: {json: {}}}",
        "8:26",
        "an object without keys",
    ),
    "a limit of nothing": ("- server: {grows_less_than: 0 MiB}", "7:33", "a size is a number and"),
    # Numbers that YAML reads in an unexpected way, and numbers that are too big.
    "a time in minutes": (
        "- ann: starts\n- ann: {sees: hello, within: 1:30}",
        "8:34",
        "seconds must be a plain decimal number such as `90` or `0.5`, not `1:30`",
    ),
    "an octal number": (
        "- ann: starts\n- ann: {sees: {line: a, times: 010}}",
        "8:36",
        "times must be a plain decimal number such as `90` or `0.5`, not `010`",
    ),
    "a number in hex": (
        "- ann: starts\n- ann: {sees: {line: a, times: 0x10}}",
        "8:36",
        "not `0x10`",
    ),
    "a number with an underscore": (
        "- ann: starts\n- ann: {sees: {line: a, times: 1_000}}",
        "8:36",
        "not `1_000`",
    ),
    "a number with an exponent": (
        "- ann: starts\n- ann: {sees: {line: a, times: 1e3}}",
        "8:36",
        "not `1e3`",
    ),
    "a number of 401 digits": (
        f"- ann: starts\n- ann: {{sees: {{line: a, times: {'9' * 401}}}}}",
        "8:36",
        "times must be a plain decimal number",
    ),
    "a number in quotes": (
        '- ann: starts\n- ann: {sees: {line: a, times: "3"}}',
        "8:36",
        "times must be a number, not text; leave the quotes out",
    ),
    "a time for ever": (
        "- ann: starts\n- ann: {sees: hello, within: 999999999}",
        "8:34",
        "seconds must be 86400 or less",
    ),
    "a buffer that no machine has": (
        "- ann: {starts: , receive_buffer: 2147483648}",
        "7:39",
        "receive_buffer must be a whole number from 1 to 2147483647",
    ),
    "a size of 5,000 digits": (
        f"- server: {{grows_less_than: {'9' * 5000} MiB}}",
        "7:33",
        "a size is a number and KiB, MiB or GiB",
    ),
    "an octal status": (
        "- server: {exits: 010}",
        "7:23",
        "`010` is neither an exit status from 0 to 255 nor the name of a signal",
    ),
    "more lines than one step names": (
        "- ann: starts\n- ann: {sees: [{line: a, times: 999999}, {line: b, times: 2}]}",
        "8:19",
        "more than 1000000 lines",
    ),
    "longer lines than there is room for": (
        f"- ann: starts\n- ann: {{sees: {{line: {'x' * 100}, times: 1000000}}}}",
        "8:19",
        "more than 64 MiB",
    ),
    "more bytes in a list than there is room for": (
        "- ann: starts\n- ann: {sends: [{text: x, times: 67108864}, {text: x, times: 67108864}]}",
        "8:49",
        "more than 64 MiB",
    ),
    # Placeholders.
    "an unfilled placeholder in a key": (
        '- ann: starts\n- ann: {sees: {json: {"{nmae}": 1}}}',
        "8:27",
        "nothing fills the placeholder `{nmae}`",
    ),
    "a place in a text that is taken as it is": (
        '- tom: {prints: ["{host}"]}',
        "7:22",
        "`{host}` cannot be filled in here; write `{{` for a literal brace",
    ),
    "a count in JSON": (
        '- ann: starts\n- ann: {sees: {json: {a: "{n}"}}}',
        "8:30",
        "`{n}` counts lines",
    ),
    "a count in a command": ('- server: {runs: "echo {n}"}', "7:22", "`{n}` counts lines"),
    "an expression that Python doubts": (
        '- ann: starts\n- ann: {sees: {matches: "[[a]"}}',
        "8:29",
        "not a regular expression: Possible nested set",
    ),
    # Unknown names.
    "an input that is not there": (
        "- tom: {starts: , input: absent.txt}",
        "7:30",
        "no such file `absent.txt`; paths are relative to .",
    ),
    "an input that is a folder": ("- tom: {starts: , input: .}", "7:30", "no such file `.`"),
    "lines of no file": (
        "- ann: starts\n- tom: starts\n- tom: {writes: hello}\n- tom: {exits: 0}\n- ann: closes",
        "9:7",
        "`writes` needs the file: `{writes: LINES, to: FILE}`",
    ),
    "a file elsewhere": (
        "- server: {makes: ../out.log}",
        "7:23",
        "the path of a file is relative to `{scratch}`, such as `out.log`",
    ),
    "a file by its whole path": (
        "- server: {writes: hello, to: /etc/passwd}",
        "7:35",
        "the path of a file is relative to `{scratch}`",
    ),
    "a socket option that is none": (
        "- server: {has_socket_option: {NODELAY: 1}}",
        "7:36",
        "no such socket option `NODELAY`; use SO_… or TCP_…",
    ),
    "an option that is empty": (
        '- tom: {starts: {size: ""}}',
        "7:28",
        "the option `size` is empty; write `yes` where it takes no value",
    ),
    "an option with its dashes": (
        "- tom: {starts: {--size: 5}}",
        "7:22",
        "`--size` is not the name of an option; write it without its dashes",
    ),
    "an option that is nothing": (
        "- tom: {starts: {size: }}",
        "7:28",
        "the option `size` must be a text, a number, yes or no",
    ),
    # Optional lines, captures, lines in any order.
    "an optional line that is typed": (
        "- ann: starts\n- ann: {types: {optional: hello}}",
        "8:20",
        "what is typed must be a text, not a pattern",
    ),
    "an optional line of a file": (
        "- server: {writes: {optional: hello}, to: a.log}",
        "7:35",
        "a line cannot be `optional` here, where no later line is compared",
    ),
    "an optional line with more in its mapping": (
        "- ann: {sees: {optional: hello, times: 2}}",
        "7:37",
        "unknown key `times` in a line that may come; known: optional",
    ),
    "an optional line before one that is the same": (
        "- ann: starts\n- ann: {sees: [{optional: {starts: he}}, hello]}",
        "8:31",
        "this optional line cannot be told apart from the next one, `hello`",
    ),
    "a use before the capture": (
        "- ann: starts\n- ann: {types: 'a {it}'}\n- ann: {sees: {matches: 'a (?P<it>.)'}}",
        "8:20",
        "nothing fills `{it}` yet: no step before this one captures it",
    ),
    "a use in the step that captures": (
        "- ann: starts\n- ann: {sees: [{matches: 'a (?P<it>.)'}, '{it}']}",
        "8:46",
        "nothing fills `{it}` yet",
    ),
    "a use of what one dialogue alone captures": (
        "- ann: starts\n- either:\n"
        "    - [ann: {sees: {matches: 'a (?P<it>.)'}}]\n    - [ann: {sees: b}]\n"
        "- ann: {types: '{it}'}",
        "11:20",
        "nothing fills `{it}` yet",
    ),
    "a use beside the capture": (
        "- ann, bob: starts\n- together:\n"
        "    - ann: {sees: {matches: 'a (?P<it>.)'}}\n    - bob: {types: '{it}'}",
        "10:24",
        "nothing fills `{it}` yet",
    ),
    "a capture by a name that is taken": (
        "- ann: starts\n- ann: {sees: {matches: 'a (?P<port>.)'}}",
        "8:29",
        "`port` cannot be the name of a group; use lower-case letters and `_`, and none",
    ),
    "a capture that may not come": (
        "- ann: starts\n- ann: {sees: {optional: {matches: 'a (?P<it>.)'}}}",
        "8:30",
        "no part of an optional line can be captured: it may be missing",
    ),
    "items without their place": (
        "- ann: starts\n- ann: {sees: {line: here, items: [a]}}",
        "8:26",
        "write `{items}` once, where the items are",
    ),
    "a place without items": (
        "- ann: starts\n- ann: {sees: '{items}'}",
        "8:19",
        "`{items}` needs `{line: …, items: …}`; write `{{items}` for itself",
    ),
    "items of a pattern": (
        "- ann: starts\n- ann: {sees: {starts: '{items}', items: [a]}}",
        "8:19",
        "`items` belong to a line: `{line: TEXT, items: LIST, between: TEXT}`",
    ),
    "an item that looks like two": (
        "- ann: starts\n- ann: {sees: {line: '{items}', items: ['a, b']}}",
        "8:45",
        "an item is a text without the separator `, `",
    ),
    "nothing between items": (
        "- ann: starts\n- ann: {sees: {line: '{items}', items: [a], between: ''}}",
        "8:58",
        "an empty text cannot separate two items",
    ),
    "a text that is repeated too often": (
        "- ann: starts\n- ann: {types: '{xxxxxxxxxx*99999999}'}",
        "8:20",
        "more than 64 MiB",
    ),
    "a text that is repeated by a huge number": (
        "- ann: starts\n- ann: {types: '{x*99999999999}'}",
        "8:20",
        "more than 64 MiB",
    ),
    # Alternatives.
    "one dialogue": (
        "- ann: starts\n- either:\n    - [ann: is_closed]",
        "9:9",
        "`either` needs two or more entries; with one, leave it out",
    ),
    "dialogues that are none": ("- either: hello", "7:15", "`either` must be a list, not text"),
    "a dialogue without steps": (
        "- ann: starts\n- either:\n    - []\n    - [ann: is_closed]",
        "9:11",
        "a dialogue without steps; its first step decides if it is played",
    ),
    "a dialogue that nothing tells": (
        "- ann: starts\n- either:\n    - [ann: closes]\n    - [ann: is_closed]",
        "9:11",
        "a dialogue of `either` begins with a step that must see something: `exits`, `shows`",
    ),
    "a dialogue that begins with what may come": (
        "- ann: starts\n- either:\n    - [ann: {sees: {optional: a}}]\n    - [ann: {sees: b}]",
        "9:11",
        "a dialogue of `either` begins with a step that must see something",
    ),
    "dialogues that begin alike": (
        "- ann: starts\n- either:\n    - [ann: {sees: a}]\n    - [ann: {sees: a}, ann: closes]",
        "10:11",
        "this dialogue begins like an earlier one; put the steps that they share before `either`",
    ),
    "dialogues that end differently": (
        "- ann: starts\n- either:\n    - [ann: {sees: a}]\n    - [ann: is_closed]",
        "8:7",
        "ann takes part after one dialogue, and has ended after another; let all end alike",
    ),
    "dialogues that leave other groups": (
        "- ann: starts\n- either:\n"
        "    - [ann: {sees: a}, ann: {enters: hall}]\n    - [ann: {sees: b}]",
        "8:7",
        "these dialogues end with different groups",
    ),
    "dialogues beside a step": (
        "- {either: [[server: {sees: a}], [server: {sees: b}]], server: starts}",
        "7:7",
        "`either` must be the only key of its step; make two steps",
    ),
    "together, but alone": (
        "- ann: starts\n- together:\n    - ann: {types: a}\n    - ann: {types: b}",
        "9:9",
        "`together` is for two or more actors; write its steps one after the other",
    ),
    "dialogues together": (
        "- ann, bob: starts\n- together:\n    - bob: {types: a}\n"
        "    - either: [[ann: {sees: a}], [ann: {sees: b}]]",
        "9:9",
        "`together` cannot hold `either`, only steps of actors",
    ),
    # Times.
    "a time from one who did nothing": (
        "- ann: starts\n- ann: {sees: a, within: 1, since: bob}",
        "8:12",
        "`since: bob` names no act before this step; known: ann, ann starts, server",
    ),
    "a moment without a time": (
        "- ann: starts\n- ann: {sees: a, since: ann}",
        "8:12",
        "`since` needs `within` or `not_before`",
    ),
    "a least time of an act": (
        "- ann: starts\n- ann: {types: a, not_before: 1}",
        "8:23",
        "`types` has no option `not_before`",
    ),
}

# Whole files, each with all of its problems.
FILES: dict[str, tuple[str | bytes, list[str]]] = {
    "not UTF-8": (b"- id: it\n  title: caf\xe9\n", ["2:13: not UTF-8; save the file as UTF-8"]),
    "UTF-16": ("- id: it".encode("utf-16"), ["1:1: not UTF-8"]),
    "a control character": (b"- id: \x07", ["1:7: not YAML: a control character"]),
    "a NUL": (b"- id: \0", ["1:7: not YAML: a control character"]),
    "an open bracket": (
        "- id: it\n  proves: [ECHO-1\n",
        ["3:1: not YAML: "],
    ),
    "an empty file": ("", ["1:1: a scenario file must be a list, not empty"]),
    "only a comment": ("# nothing\n", ["1:1: a scenario file must be a list, not empty"]),
    "a list of nothing": ("[]\n", ["1:1: a file without a scenario; write one"]),
    "a mark in front, and ends of lines from elsewhere": (
        b"\xef\xbb\xbf- id: It\r\n  title: x\r\n",
        ["1:3: a scenario needs `proves`", "1:3: a scenario needs `steps`", "1:7: an id is lower"],
    ),
    "a control character behind others that are long": (
        "- id: \u00e9\u00e9\u00e9\x07",
        ["1:10: not YAML: a control character"],
    ),
    "more than anybody writes": (b"#" * ((16 << 20) + 1), ["1:1: more than 16 MiB"]),
    "aliases that lead deep": (
        "- &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"
        "- [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
        ["2:33: nested too deeply"],
    ),
    "a set": (RIGHT.replace("{ann: wire}", "!!set {ann}"), ["4:9: tags are not supported"]),
    "no title": (
        RIGHT.replace("title: It", 'title: ""'),
        ["2:10: `title` is empty; write a text, or leave the key out"],
    ),
    "a title of blanks": (RIGHT.replace("title: It", 'title: " "'), ["2:10: `title` is empty"]),
    "a title that is a list": (
        RIGHT.replace("title: It", "title: [It]"),
        ["2:10: `title` must be text, not a list"],
    ),
    "a title of two lines": (
        RIGHT.replace("title: It", 'title: "It\\nis"'),
        ["2:10: `title` must be one line of text"],
    ),
    "a title that is filled too late": (
        RIGHT.replace("title: It", 'title: "{port}"'),
        ["2:10: nothing fills the placeholder `{port}`"],
    ),
    "no feature that is needed": (
        RIGHT.replace("steps:", "needs: {}\n  steps:"),
        ["5:10: no feature is named; name features by role, or leave the key out"],
    ),
    "no feature of a role": (
        RIGHT.replace("steps:", "needs: {server: []}\n  steps:"),
        ["5:19: no feature is named; name features, or leave the key out"],
    ),
    "without nothing": (
        RIGHT.replace("steps:", "without: {}\n  steps:"),
        ["5:12: no feature is named; name features by role, or leave the key out"],
    ),
    "two keys that an example makes one": (
        RIGHT.replace("steps:", "examples: [{id: a, who: ann}]\n  steps:")
        + '    - {ann: starts, "{who}": closes}\n',
        ["10:21: `{who}`, when filled in, is a second key `ann`"],
    ),
    "a mapping": ("id: it\n", ["1:1: a scenario file must be a list, not a mapping"]),
    "two documents": (
        "- id: a\n---\n- id: b\n",
        ["2:1: a second document begins here; a file can hold only one"],
    ),
    "an alias of itself": (
        "- &a [*a]\n",
        ["1:7: no value `&a` ends before the alias `*a`"],
    ),
    "an alias bomb": (
        "- &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"- &{b} [{', '.join([f'*{a}'] * 9)}]\n"
            for a, b in zip("abcdefg", "bcdefgh", strict=True)
        ),
        ["6:11: more than 200000 entries, after aliases are expanded"],
    ),
    "no id": (
        "- title: It\n  proves: [ECHO-1]\n  steps: []\n",
        [
            "1:3: a scenario needs `id`",
            "3:10: a scenario without steps proves nothing",
        ],
    ),
    "a bad id": (
        RIGHT.replace("it", "It Is", 1),
        ["1:7: an id is lower-case words joined by `-`, such as `reads-the-rest`"],
    ),
    "the same id twice": (RIGHT + RIGHT, ["9:7: the id `it` is used at file.yaml:1:7 already"]),
    "an unknown key": (
        RIGHT.replace("steps:", "need: {}\n  steps:"),
        ["5:3: unknown key `need` in a scenario; did you mean `needs`?"],
    ),
    "nothing proved": (
        RIGHT.replace("ECHO-1", ""),
        ["3:11: an empty list; name the rules that the scenario proves"],
    ),
    "an unknown rule": (
        RIGHT.replace("ECHO-1", "ECO-1"),
        ["3:12: no such rule `ECO-1`; did you mean `ECHO-1`?"],
    ),
    "a rule twice": (RIGHT.replace("ECHO-1", "ECHO-1, ECHO-1"), ["3:20: ECHO-1 appears twice"]),
    "a rule that is no list": (
        RIGHT.replace("[ECHO-1]", "ECHO-1"),
        ["3:11: `proves` must be a list, not text"],
    ),
    "an unknown kind of actor": (
        RIGHT.replace("ann: wire", "ann: wires"),
        ["4:15: no such kind of actor: `wires`; did you mean `wire`?"],
    ),
    "a wire on pipes": (
        RIGHT.replace("ann: wire", "ann: wire on pipes"),
        ["4:15: no such kind of actor: `wire on pipes`"],
    ),
    "a server that is a client": (
        RIGHT.replace("ann: wire", "server: client"),
        ["4:18: the actor called `server` must be a `server`, or `scripted`"],
    ),
    "a second scripted server": (
        RIGHT.replace("ann: wire", "ann: scripted"),
        ["4:15: only the actor called `server` can be `scripted`"],
    ),
    "a real server beside a scripted one": (
        RIGHT.replace("ann: wire", "server: scripted, tom: server"),
        ["4:9: the server is scripted, so tom cannot be a server program"],
    ),
    "a name of several dialogues": (
        RIGHT.replace("ann: wire", "either: wire"),
        ["4:10: `either` cannot be the name of an actor; use letters and digits"],
    ),
    "an example that fills what is captured": (
        RIGHT.replace("- ann: closes", "- ann: {sees: {matches: 'a (?P<id>.)'}}\n    - ann: closes")
        + "  examples: [{id: one}]\n",
        ["8:19: `{id}` is filled in by the example; capture by another name"],
    ),
    "an example that needs no feature that there is": (
        RIGHT + "  examples: [{id: one, needs: {server: [lout]}}]\n",
        ["9:41: no rule is marked with the feature `lout`; did you mean `loud`?"],
    ),
    "a name that is none": (
        RIGHT.replace("ann: wire", "everyone: wire"),
        ["4:10: `everyone` cannot be the name of an actor; use letters and digits"],
    ),
    "one who does nothing": (
        RIGHT.replace("ann: wire", "ann: wire, bob: client"),
        ["4:21: bob has no step; remove it from the cast"],
    ),
    "a scripted server without a client": (
        RIGHT.replace("ann: wire", "server: scripted"),
        ["1:3: a scripted server judges clients: it needs one, without `mixed`"],
    ),
    "mixed without a client": (
        RIGHT.replace("cast:", "clients: mixed\n  cast:"),
        ["1:3: `clients: mixed` needs clients in the cast"],
    ),
    "clients that are not mixed": (
        RIGHT.replace("steps:", "clients: two\n  steps:"),
        ["5:12: the only value here is `mixed`"],
    ),
    "a feature that no rule has": (
        RIGHT.replace("steps:", "needs: {server: [lout]}\n  steps:"),
        ["5:20: no rule is marked with the feature `lout`; did you mean `loud`?"],
    ),
    "a role that is none": (
        RIGHT.replace("steps:", "without: {sever: [loud]}\n  steps:"),
        ["5:13: unknown key `sever` in features by role; did you mean `server`?"],
    ),
    "an example without an id": (
        RIGHT.replace("steps:", "examples: [{word: a}]\n  steps:"),
        ["5:14: an example needs an `id`"],
    ),
    "two examples with one id": (
        RIGHT.replace("steps:", "examples: [{id: a}, {id: a}]\n  steps:"),
        ["5:28: the id `a` is used at file.yaml:5:19 already"],
    ),
    "no examples": (
        RIGHT.replace("steps:", "examples: []\n  steps:"),
        ["5:13: an empty list; name examples"],
    ),
    "an example that is a number": (
        RIGHT.replace("steps:", "examples: [{id: a, word: 5}]\n  steps:"),
        ["5:28: `word` must be text, not a number; put it in quotes"],
    ),
    "an example that cannot be filled in": (
        RIGHT.replace("steps:", "examples: [{id: a, Word1: x}]\n  steps:"),
        ["5:22: `Word1` cannot be a placeholder; use lower-case letters and `_`"],
    ),
    "a title that is not filled": (
        RIGHT.replace("title: It", 'title: "It {is}"'),
        ["2:10: nothing fills the placeholder `{is}`"],
    ),
    "a start before the server's": (
        RIGHT.replace("    - server: starts\n", ""),
        ["6:12: ann cannot connect: the server has not started yet"],
    ),
    # All mistakes are reported, each once, without consequences of others.
    "several mistakes": (
        HEAD.replace("ECHO-1", "ECHO-1, ECHO-7")
        + "    - ann: startz\n"  # so that the next step is no mistake
        + "    - ann: {types: hello}\n"
        + "    - carl: {types: hello}\n"
        + "    - bob: {types: 5, whithin: 1}\n"
        + HEAD.replace("id: it", "id: It").replace("bob: client", "bob: clown"),
        [
            "3:20: no such rule `ECHO-7`; did you mean `ECHO-",
            "7:12: unknown verb `startz`; did you mean `starts`?",
            "9:7: `carl` is not in the cast",
            "10:23: `types` has no option `whithin`; did you mean `within`?",
            "11:7: an id is lower-case words",
            "14:26: no such kind of actor: `clown`",
        ],
    ),
    "the same mistake in several examples": (
        RIGHT.replace("steps:", "examples: [{id: a}, {id: b}]\n  steps:")
        + "    - ann: {seees: hello}\n",
        ["10:13: unknown verb `seees`"],
    ),
}

SUITES = {
    "an order of what is not there": (
        SUITE.replace("PROTOCOL.md\n", "PROTOCOL.md\norder: [ECHO-2, ECHOES]\n"),
        ["suite.yaml:3:17: no such rule or section; did you mean `ECHO`?"],
    ),
    "an empty suite": ("", ["suite.yaml:1:1: a suite must be a mapping (`key: value`), not empty"]),
    "no protocol": (
        SUITE.replace("protocol: PROTOCOL.md", ""),
        ["suite.yaml:1:1: a suite needs `protocol`"],
    ),
    "a protocol that is not there": (
        SUITE.replace("PROTOCOL.md", "protocol.txt"),
        ["suite.yaml:2:11: the protocol text protocol.txt cannot be read: "],
    ),
    "a protocol that is a folder": (
        SUITE.replace("PROTOCOL.md", "."),
        ["suite.yaml:2:11: the protocol text . cannot be read: "],
    ),
    "a protocol without rules": (
        SUITE.replace("PROTOCOL.md", "suite.yaml"),
        ["suite.yaml:2:11: suite.yaml holds no rule; write rules as `- NAME-1 (MUST) text`"],
    ),
    "an unknown key": (
        SUITE.replace("programs:", "program:"),
        [
            "suite.yaml:4:1: unknown key `program` in a suite; did you mean `programs`?",
            "suite.yaml:1:1: a suite needs `programs`",
        ],
    ),
    "a name that is empty": (
        SUITE.replace("name: tiny", 'name: ""'),
        ["suite.yaml:1:7: `name` is empty; write a text"],
    ),
    "a protocol with a NUL in its name": (
        SUITE.replace("PROTOCOL.md", '"\\0"'),
        ["suite.yaml:2:11: the name of a file cannot hold a NUL"],
    ),
    "an option that its program does not take": (
        SUITE.replace('"{port}"\n', '"{port}"\n    takes: [size]\n    options: {sice: 1}\n'),
        ["suite.yaml:8:15: no such option `sice`; did you mean `size`?"],
    ),
    "an option to be taken that is none": (
        SUITE.replace('"{port}"\n', '"{port}"\n    takes: [--size]\n'),
        ["suite.yaml:7:13: `--size` is not the name of an option; write it without its dashes"],
    ),
    "an exit status that is none": (
        SUITE.replace('"{port}"\n', '"{port}"\n    interrupted: 256\n'),
        ["suite.yaml:7:18: `interrupted` must be a whole number from 0 to 255"],
    ),
    "a brace by itself": (
        SUITE.replace('"{port}"\n', '"{port} {"\n'),
        ["suite.yaml:6:16: a `{` that begins no placeholder; write `{host}` for a placeholder"],
    ),
    "a verb without any steps": (
        SUITE.replace("        - \"{actor}\": is_closed\n", "        []\n"),
        ["suite.yaml:30:9: no steps; write some, or leave the key out"],
    ),
    "a verb whose argument fills nothing": (
        SUITE.replace("    argument: name\n", "    argument: Name\n", 1),
        ["suite.yaml:13:15: `Name` cannot be a placeholder; use lower-case letters and `_`"],
    ),
    "a fence of nothing": (
        SUITE.replace("fence!", '" "'),
        ["suite.yaml:40:15: `alone_sees` is empty; write a text"],
    ),
    "folders from the root": (
        SUITE.replace("servers/*", "/servers/*"),
        ["suite.yaml:3:19: `/servers/*` is not a pattern of folders; give a path"],
    ),
    "a role that is none": (
        SUITE.replace("  server:\n", "  sever:\n"),
        ["suite.yaml:5:3: unknown key `sever` in `programs`; did you mean `server`?"],
    ),
    "arguments that cannot be filled": (
        SUITE.replace('"{port}"', '"{prot}"'),
        ["suite.yaml:6:16: nothing fills the placeholder `{prot}`; did you mean `port`?"],
    ),
    "arguments that are no command line": (
        SUITE.replace('"{port}"', "\"'{port}\""),
        ["suite.yaml:6:16: not a command line: "],
    ),
    "a verb without steps": (
        SUITE.replace("    steps:\n      client:", "    step:\n      client:"),
        [
            "suite.yaml:26:5: unknown key `step` in the verb `ends`; did you mean `steps`?",
            "suite.yaml:26:5: the verb `ends` needs `steps`",
        ],
    ),
    "a verb's kind that is none": (
        SUITE.replace("      wire:", "      wirre:"),
        ["suite.yaml:29:7: unknown key `wirre` in steps by the actor's kind; did you mean `wire`?"],
    ),
    "a verb of the harness": (
        SUITE.replace("  turns:", "  sees:").replace(": turns", ": starts"),
        ["suite.yaml:32:5: `sees` is a verb of the harness; give yours another name"],
    ),
    "a verb that stands for an unknown one": (
        SUITE.replace("{sees: \"hello", "{seez: \"hello"),
        ["suite.yaml:17:21: unknown verb `seez`; did you mean `sees`?"],
    ),
    "an ending with an unknown verb": (
        SUITE.replace("everyone: ends", "everyone: end"),
        ["suite.yaml:43:15: unknown verb `end`; did you mean `ends`?"],
    ),
    "a fence that leaves one who is alone out": (
        SUITE.replace("  alone_types: fence?\n  alone_sees: fence!\n", ""),
        ["suite.yaml:36:3: a fence needs one of these, for a member that is alone: `alone_ty"],
    ),
    "a witness by a verb that is none": (
        SUITE.replace(
            "  alone_types: fence?\n  alone_sees: fence!\n",
            "  witness: {comes: come, goes: closes}\n",
        ),
        ["suite.yaml:39:20: unknown verb `come`; did you mean `comes`?"],
    ),
    "half a witness": (
        SUITE.replace(
            "  alone_types: fence?\n  alone_sees: fence!\n", "  witness: {comes: comes}\n"
        ),
        ["suite.yaml:39:12: a witness needs `goes`"],
    ),
    "half a fence": (
        SUITE.replace("  alone_sees: fence!\n", ""),
        ["suite.yaml:36:3: a fence needs both or none of `alone_types` and `alone_sees`"],
    ),
    "half of what a fence says to others": (
        SUITE.replace('  others_see: "{name}: fence {n}"\n', ""),
        ["suite.yaml:36:3: a fence needs both or none of `types` and `others_see`"],
    ),
    "a fence of no lines": (
        SUITE.replace("fence!", "[]"),
        ["suite.yaml:40:15: an empty list; write a line for `alone_sees`, or leave the key out"],
    ),
    "a witness that hears nothing": (
        SUITE.replace('  types: "fence {n}"\n  others_see: "{name}: fence {n}"\n', "").replace(
            "  alone_types: fence?\n  alone_sees: fence!\n",
            "  witness: {comes: comes, goes: closes}\n",
        ),
        ["suite.yaml:36:3: a fence with a `witness` needs `types`"],
    ),
    "a line end of nothing": (
        SUITE.replace("programs:", 'line_end: ""\nprograms:', 1),
        [
            "suite.yaml:4:11: a line end has 1 to 8 characters, in quotes, such as "
            '"\\r\\n"'
        ],
    ),
    "a line end that is a line": (
        SUITE.replace("programs:", "line_end: CR and LF\nprograms:", 1),
        ["suite.yaml:4:11: a line end has 1 to 8 characters"],
    ),
    "a fence of numbers": (
        SUITE.replace("fence!", "5"),
        ["suite.yaml:40:15: `alone_sees` must be text, not a number; put it in quotes"],
    ),
    "several mistakes": (
        SUITE.replace("name: tiny", "name: 5").replace("fence!", "yes").replace("{n}", "{n"),
        [
            "suite.yaml:1:7: `name` must be text, not a number; put it in quotes",
            "suite.yaml:40:15: `alone_sees` must be text, not yes/no; put it in quotes",
        ],
    ),
}  # fmt: skip

RULE = "- ECHO-2 (MUST) Nothing else does.\n"
PROTOCOLS = {
    "a rule twice": (
        PROTOCOL + RULE,
        ["PROTOCOL.md:6:1: ECHO-2 is defined at PROTOCOL.md:4:1"],
    ),
    "a rule with an unknown level": (
        PROTOCOL.replace("ECHO-2 (MUST)", "ECHO-2 (Must)"),
        ["PROTOCOL.md:4:1: not a rule, though it looks like one; write rules as `- NAME-1 (MUST)"],
    ),
    "several mistakes": (
        PROTOCOL + RULE + RULE,
        ["PROTOCOL.md:6:1: ECHO-2 is defined", "PROTOCOL.md:7:1: ECHO-2 is defined"],
    ),
}

MANIFEST = """\
name: tiny
role: server
language: Python
run: "{python} server.py"
"""
MANIFESTS = {
    "empty": ("", ["1:1: a manifest must be a mapping (`key: value`), not empty"]),
    "without a command": (MANIFEST.replace("run:", "runs:"), [
        "4:1: unknown key `runs` in a manifest; did you mean `run`?",
        "1:1: a manifest needs `run`",
    ]),
    "an empty command": (MANIFEST.replace("{python} server.py", " "), ["4:6: an empty command"]),
    "an open quote": (
        MANIFEST.replace("server.py", "'server.py"),
        ["4:6: not a command line: "],
    ),
    "a NUL": (MANIFEST.replace("server.py", "\\0"), ["4:6: not a command line"]),
    "an unknown placeholder": (
        MANIFEST.replace("{python}", "{pyton}"),
        ["4:6: nothing fills the placeholder `{pyton}`; did you mean `python`?"],
    ),
    "a brace by itself": (
        MANIFEST.replace("{python}", "{python"),
        ["4:6: a `{` that begins no placeholder; write `{build}` for a placeholder, `{{` for"],
    ),
    "a brace by itself in a build": (
        MANIFEST + 'build: "cc -o {build/x"\n',
        ["5:8: a `{` that begins no placeholder"],
    ),
    "no language": (MANIFEST.replace("Python", '""'), ["3:11: `language` is empty"]),
    "a known failure for no reason": (
        MANIFEST + 'known_failures: {file/it: ""}\n',
        ["5:27: the reason of `file/it` is empty"],
    ),
    "a port in hex": (MANIFEST + "port: 0x50\n", ["5:7: `port` must be a plain decimal number"]),
    "an unknown role": (
        MANIFEST.replace("role: server", "role: sever"),
        ["2:7: no such role `sever`; did you mean `server`?"],
    ),
    "a role that is a list": (
        MANIFEST.replace("role: server", "role: [server]"),
        ["2:7: `role` must be text, not a list"],
    ),
    "a name of 65 letters": (
        MANIFEST.replace("tiny", "a" * 65),
        ["1:7: a name is 1 to 64 letters, digits and `-`, and not `mixed`"],
    ),
    "a name with a space": (
        MANIFEST.replace("tiny", "so tiny"),
        ["1:7: a name is 1 to 64 letters, digits and `-`, and not `mixed`"],
    ),
    "the name of the mixed": (
        MANIFEST.replace("tiny", "mixed"),
        ["1:7: a name is 1 to 64 letters, digits and `-`, and not `mixed`"],
    ),
    "features that are no list": (
        MANIFEST + "features: loud\n",
        ["5:11: a list of names must be a list, not text"],
    ),
    "a feature that is no name": (
        MANIFEST + "features: [loud, 5]\n",
        ["5:18: a name must be text, not a number; put it in quotes"],
    ),
    "a feature twice": (
        MANIFEST + "features: [loud, loud]\n",
        ["5:18: `loud` appears twice"],
    ),
    "a port out of range": (
        MANIFEST + "port: 65536\n",
        ["5:7: `port` must be a whole number from 1 to 65535"],
    ),
    "a port that is no number": (
        MANIFEST + "port: http\n",
        ["5:7: `port` must be a number, not text"],
    ),
    "a known failure without a reason": (
        MANIFEST + "known_failures: {file/it: }\n",
        ["5:27: the reason of `file/it` must be text, not empty"],
    ),
    "a failure that must come and may come": (
        MANIFEST + "known_failures: {file/it: why}\nmay_fail: {file/it: why}\n",
        ["6:12: `file/it` is also a known failure; a case either must fail or may fail"],
    ),
    "a failure that may come for no reason": (
        MANIFEST + 'may_fail: {file/it: ""}\n',
        ["5:21: the reason of `file/it` is empty"],
    ),
    "an environment with wrong variables": (
        MANIFEST + 'environment: {A-B: x, C: yes, D: "{prot}", E: "{", F: 1.50, G: "\\0"}\n',
        ["5:15: `A-B` is not the name of a variable; use letters, digits and `_`"],
    ),
    "a variable that is no text": (
        MANIFEST + "environment: {F: 1.50, C: yes}\n",
        ["5:27: the variable `C` must be text, not yes/no; put it in quotes"],
    ),
    "a variable that cannot be filled": (
        MANIFEST + 'environment: {D: "{prot}"}\n',
        ["5:18: nothing fills the placeholder `{prot}`; did you mean `port`?"],
    ),
    "a variable with a NUL": (
        MANIFEST + 'environment: {G: "\\0"}\n',
        ["5:18: the variable `G` cannot hold a NUL"],
    ),
    "a host that is a name": (
        MANIFEST + "host: localhost\n",
        ["5:7: `localhost` is not an address; write `127.0.0.1` or `::1`"],
    ),
    "a host of one machine": (
        MANIFEST + "host: 192.0.2.1\n",
        ["5:7: not every machine has the address `192.0.2.1`; use a loopback address"],
    ),
    "children that are counted": (MANIFEST + "children: 2\n", ["5:11: say `yes`, or leave it out"]),
    "a start without end": (MANIFEST + "start: 4000\n", ["5:8: `start` must be 3600 or less"]),
    "a ready line of two lines": (
        MANIFEST + 'ready: "a\\nb"\n',
        ["5:8: a line cannot hold a line end"],
    ),
    "a ready line that cannot be filled": (
        MANIFEST + 'ready: {contains: "{prot}"}\n',
        ["5:19: nothing fills the placeholder `{prot}`; did you mean `port`?"],
    ),
    "a ready line by no expression": (
        MANIFEST + 'ready: {matches: "(", on: errors}\n',
        ["5:18: not a regular expression: "],
    ),
    "an expression for a ready line that cannot be filled": (
        MANIFEST + 'ready: {matches: "on {prot}"}\n',
        ["5:18: nothing fills the placeholder `{prot}`; did you mean `port`?"],
    ),
    "a ready line with two ports": (
        MANIFEST + 'ready: "{port} or {port}"\n',
        ["5:8: `{port}` appears twice; write it once"],
    ),
    "an expression with a port and a group of that name": (
        MANIFEST + 'ready: {matches: ".*(?P<port>[0-9]+) port {port}"}\n',
        ["5:18: both `{port}` and the group `port` name the port; leave one of them out"],
    ),
    "an expression that cannot hold a number": (
        MANIFEST + 'ready: {matches: ".*(?<=port {port})"}\n',
        ["5:18: not a regular expression with a number in place of `{port}`: look-behind"],
    ),
    "two ready lines": (
        MANIFEST + "ready: {line: a, contains: b}\n",
        ["5:8: describe the line by one of: line, contains, matches"],
    ),
    "a ready line of nothing": (
        MANIFEST + 'ready: {contains: ""}\n',
        ["5:19: `contains` is empty; write what it prints, or leave the key out"],
    ),
    "a ready line on no stream": (
        MANIFEST + "ready: {line: a, on: stderr}\n",
        ["5:22: no such stream `stderr`; known: errors, output"],
    ),
    "no source at all": (MANIFEST + "sources: []\n", ["5:10: an empty list; name sources"]),
    "a source of others": (
        MANIFEST + "sources: [../x]\n",
        ["5:11: paths of sources are relative to this folder, such as `src`, `*.c`"],
    ),
    "a source by a strange pattern": (
        MANIFEST + 'sources: ["src/**.c"]\n',
        ["5:11: `**` matches folders; separate it by `/`"],
    ),
    "arguments that cannot be filled": (
        MANIFEST + 'arguments: "-p {ports}"\n',
        ["5:12: nothing fills the placeholder `{ports}`; did you mean `port`?"],
    ),
    "several mistakes": (
        MANIFEST.replace("tiny", "5").replace("server\n", "judge\n") + "need: [gcc]\n",
        [
            "5:1: unknown key `need` in a manifest; did you mean `needs`?",
            "1:7: `name` must be text, not a number; put it in quotes",
            "2:7: no such role `judge`; known: client, server",
        ],
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages then have file names without a folder."""
    monkeypatch.chdir(tmp_path)


def assert_told(mistake: Mistake, *expected: str) -> None:
    """Each problem must have its exact place; of its words, a prefix or a part is enough.

    The words of libraries and of the system are not compared, since they differ between versions.
    """
    assert len(mistake.problems) == len(expected), mistake.problems
    for problem, wanted in zip(mistake.problems, expected, strict=True):
        place, _, words = wanted.partition(": ")
        assert problem.startswith(f"{place}: "), problem
        assert words in problem
        assert "\n" not in problem


@pytest.mark.parametrize("name", STEPS)
def test_a_wrong_step(name: str) -> None:
    steps, place, words, *kind = STEPS[name]
    head = HEAD.replace("bob: client", f"bob: {kind[0]}") if kind else HEAD
    text = head + "".join(f"    {line}\n" for line in steps.split("\n"))
    with pytest.raises(Mistake) as caught:
        read_scenarios(write_suite(Path()), text)
    assert_told(caught.value, f"file.yaml:{place}: {words}")


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_scenario_file(name: str) -> None:
    content, problems = FILES[name]
    write_suite(Path())
    Path("file.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Mistake) as caught:
        load([Path("file.yaml")])
    assert_told(caught.value, *(f"file.yaml:{problem}" for problem in problems))


@pytest.mark.parametrize("name", SUITES)
def test_a_wrong_suite(name: str) -> None:
    text, problems = SUITES[name]
    write_files(Path(), text)
    Path("file.yaml").write_text(RIGHT)
    with pytest.raises(Mistake) as caught:
        load([Path()])
    assert_told(caught.value, *problems)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_wrong_protocol(name: str) -> None:
    text, problems = PROTOCOLS[name]
    write_files(Path(), protocol=text)
    with pytest.raises(Mistake) as caught:
        load([Path()])
    assert_told(caught.value, *problems)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_wrong_manifest(name: str) -> None:
    text, problems = MANIFESTS[name]
    Path("implementation.yaml").write_text(text)
    with pytest.raises(Mistake) as caught:
        manifest.find([Path()])
    assert_told(caught.value, *(f"implementation.yaml:{problem}" for problem in problems))


def test_nesting_that_the_parser_itself_refuses() -> None:
    """The parser's words and column differ between versions."""
    write_suite(Path())
    Path("file.yaml").write_text("[" * 100_000)
    with pytest.raises(Mistake, match=r"^file\.yaml:1:[0-9]+: ") as caught:
        load([Path("file.yaml")])
    assert len(caught.value.problems) == 1


def test_two_manifests_of_one_name() -> None:
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "implementation.yaml").write_text(MANIFEST)
    with pytest.raises(Mistake) as caught:
        manifest.find([Path()])
    assert_told(
        caught.value,
        "two/implementation.yaml:1:1: "
        "the server `tiny` is defined at one/implementation.yaml:1:1 already",
    )


def test_no_manifest() -> None:
    with pytest.raises(
        Mistake, match=r"\.: no implementation\.yaml in it or in its direct subfolders"
    ):
        manifest.find([Path()])


def test_no_suite() -> None:
    Path("file.yaml").write_text(HEAD)
    with pytest.raises(Mistake) as caught:
        load([Path("file.yaml")])
    assert_told(caught.value, "suite.yaml:1:1: no such file; a suite is a folder with a suite.yaml")


def test_no_such_file() -> None:
    write_suite(Path())
    with pytest.raises(Mistake) as caught:
        load([Path("absent.yaml")])
    assert_told(caught.value, "absent.yaml:1:1: cannot be read: ")


def test_a_file_that_would_be_overlooked() -> None:
    write_suite(Path())
    Path("more.yml").write_text(HEAD)
    with pytest.raises(Mistake) as caught:
        load([Path()])
    assert_told(caught.value, "more.yml:1:1: only `.yaml` files are played")


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 10_000_000, "- " * 60 + "x"])
def test_what_is_nested_too_deeply(text: str) -> None:
    """Versions of the parser notice this at different places."""
    write_suite(Path())
    Path("file.yaml").write_text(text)
    with pytest.raises(Mistake, match=r"^file\.yaml:1:[0-9]+: nested too deeply$"):
        load([Path("file.yaml")])


@pytest.mark.parametrize("name", ["folder.yaml", "pipe.yaml"])
def test_what_is_no_file(name: str) -> None:
    write_suite(Path())
    os.mkdir("folder.yaml")
    os.mkfifo("pipe.yaml")
    with pytest.raises(Mistake) as caught:
        load([Path(name)] if name == "pipe.yaml" else [Path()])
    told = f"{name}:1:1: cannot be read: a folder or a device, not a file"
    assert told in caught.value.problems


def test_a_suite_without_a_scenario() -> None:
    write_suite(Path())
    with pytest.raises(Mistake) as caught:
        load([Path()])
    assert_told(caught.value, "suite.yaml:1:1: a suite without a scenario; write scenarios into a")


def test_two_suites_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_suite(tmp_path / name)
    with pytest.raises(Mistake, match="one run plays one suite"):
        load([tmp_path / "one", tmp_path / "two"])


def test_a_program_that_the_suite_does_not_know() -> None:
    suite = write_suite(
        Path(), SUITE.replace('  client:\n    arguments: "{host} {port} {name}"\n', "")
    )
    with pytest.raises(Mistake) as caught:
        read_scenarios(suite, HEAD)
    assert_told(caught.value, "file.yaml:4:26: the suite does not describe clients")


def test_mistakes_of_all_files_are_told_at_once() -> None:
    write_suite(Path())
    Path("a.yaml").write_text(HEAD.replace("ECHO-1", "ECO-1").replace("ann: wire", "ann: wirr"))
    Path("b.yaml").write_text("")
    with pytest.raises(Mistake) as caught:
        load([Path()])
    places = [problem.split(": ")[0] for problem in caught.value.problems]
    assert places == ["a.yaml:3:12", "a.yaml:4:15", "b.yaml:1:1"]


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_written_nothing_but_a_mistake_is_raised(seed: int) -> None:
    random = Random(seed)
    steps, *_ = random.choice(list(STEPS.values()))
    scenarios = HEAD + "".join(f"    {line}\n" for line in steps.split("\n"))
    write_files(Path(), spoilt(SUITE, random))
    Path("file.yaml").write_text(spoilt(scenarios, random), "utf-8")
    Path("implementation.yaml").write_text(spoilt(MANIFEST, random), "utf-8")
    told = problems_of(lambda: load([Path("file.yaml")]))
    told += problems_of(lambda: manifest.find([Path()]))
    assert all(problem.isprintable() for problem in told)


def problems_of(read: Callable[[], object]) -> list[str]:
    try:
        read()
    except Mistake as mistake:
        return mistake.problems
    return []


def spoilt(text: str, random: Random) -> str:
    """The text with one random insertion, deletion, repetition, or no change."""
    for _ in range(random.randrange(3)):
        at = random.randrange(len(text))
        match random.randrange(3):
            case 0:
                text = text[:at] + random.choice(SCRAPS) + text[at:]
            case 1:
                text = text[:at] + text[at + random.randint(1, 9) :]
            case _:
                words = text.split(" ")
                words[random.randrange(len(words))] = random.choice(words)
                text = " ".join(words)
    return text


SCRAPS = [
    "[",
    "]",
    "{",
    "}",
    ": ",
    "\n- ",
    "&a ",
    "*a ",
    "!!int ",
    "!!bool ",
    "'",
    '"',
    "|\n",
    "\t",
]
SCRAPS += ["? ", "%", "\0", "\u2028", "~", ".nan", "-1", "1e400", "9" * 5000, "{n}", "{{", "<<: "]
