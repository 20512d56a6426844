"""Small servers to test the load generator with.

There is a right one for each protocol, and chat servers that are wrong in one way each and count
how often they were.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

PROMPT = b"Enter your screen name: "


class User:
    """A connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.name = b""
        self.joined = False
        self.rest = b""  # the beginning of an incomplete line
        self.frame: list[bytes] = []  # the lines of a message that takes several


class Server:
    """A right chat server in a thread.

    Messages that come from a user in one piece are sent in one piece to each receiver. They pass
    through `spoiled`, which a wrong server overrides; it counts in `wrongs` what it did.
    """

    prompt = PROMPT
    end = b"\n"
    returns_own = False

    def __init__(self) -> None:
        self.wrongs = 0
        self.users: list[User] = []
        self.most_at_once = 0  # messages that came in one piece
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=10)
        self.port: int = self.listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._wake, self._asleep = socket.socketpair()

    def run(self) -> None:
        """Serve until `stop`."""
        self._selector.register(self.listener, selectors.EVENT_READ)
        self._selector.register(self._asleep, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._asleep:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                elif key.data in self.users:
                    self.receive(key.data)

    def stop(self) -> None:
        """End `run`, which runs in another thread."""
        self._wake.close()

    def close(self) -> None:
        """End all connections."""
        for user in self.users:
            user.connection.close()
        self.listener.close()
        self._asleep.close()
        self._selector.close()

    def accept(self) -> None:
        """Accept a connection and send the prompt."""
        user = User(self.listener.accept()[0])
        user.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.users.append(user)
        self._selector.register(user.connection, selectors.EVENT_READ, user)
        self.send(user, self.prompt)

    def send(self, user: User, data: bytes) -> None:
        """Send bytes to a user, who may have gone meanwhile."""
        try:
            user.connection.sendall(data)
        except OSError:
            self.drop(user)

    def drop(self, user: User) -> None:
        """End a connection."""
        if user in self.users:
            self.users.remove(user)
            self._selector.unregister(user.connection)
            user.connection.close()

    def receive(self, user: User) -> None:
        """Read from a user."""
        try:
            data = user.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.drop(user)
            return
        *lines, user.rest = (user.rest + data).split(self.end)
        texts = [text for line in lines if (text := self.heard(user, line)) is not None]
        if texts:
            self.relay(user, texts)

    def relay(self, sender: User, texts: list[bytes]) -> None:
        """Send the messages of a user to all receivers."""
        self.most_at_once = max(self.most_at_once, len(texts))
        messages = [self.message(sender, text) for text in texts]
        for receiver in list(self.users):
            if receiver.joined and (self.returns_own or receiver is not sender):
                self.deliver(sender, receiver, messages)

    def deliver(self, sender: User, receiver: User, messages: list[bytes]) -> None:
        """Send messages to one receiver."""
        self.send(receiver, b"".join(self.spoiled(sender, receiver, messages)))

    def heard(self, user: User, line: bytes) -> bytes | None:
        """Act on a line; the text of the message in it, if there is one."""
        if user.joined:
            return line
        self.join(user, line)
        self.send(user, b"Welcome, %b (%d online). Type /help for commands.\n" % (line, 1))
        return None

    def join(self, user: User, name: bytes) -> None:
        """Admit a user; all others see it."""
        user.name, user.joined = name, True
        for other in self.users:
            if other.joined and other is not user:
                self.send(other, self.notice(user))

    def notice(self, user: User) -> bytes:
        """The line that others see when a user has joined."""
        return b"%b has joined the chat\n" % user.name

    def message(self, sender: User, text: bytes) -> bytes:
        """The bytes of a message that receivers get."""
        return b"%b: %b\n" % (sender.name, text)

    def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
        """What is sent to a receiver in place of some messages."""
        return messages


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server in a thread until the end of the block."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        server.close()


# --- The other protocols, as far as the generator needs them -------------------------------------


class Redis(Server):
    """RESP3: a map as greeting, a push for each message, a number as answer to its sender."""

    prompt = b""
    end = b"\r\n"
    returns_own = True

    def heard(self, user: User, line: bytes) -> bytes | None:
        # A message is an array of three strings, each after its length.
        if line == b"HELLO 3":
            self.send(user, b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n")
        elif line == b"SUBSCRIBE room":
            self.send(user, b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n")
            user.joined = True
        else:
            user.frame.append(line)
        if len(user.frame) < 7:
            return None
        head, text = user.frame[:5], user.frame[6]
        assert head == [b"*3", b"$7", b"PUBLISH", b"$4", b"room"]
        assert user.frame[5] == b"$%d" % len(text)
        user.frame = []
        self.send(user, b":%d\r\n" % len(self.users))
        return text

    def message(self, sender: User, text: bytes) -> bytes:
        return b">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$%d\r\n%b\r\n" % (len(text), text)


class Nats(Server):
    """NATS; it pings each client that comes."""

    prompt = b'INFO {"server_id":"fake","max_payload":1048576}\r\n'
    end = b"\r\n"

    def __init__(self) -> None:
        super().__init__()
        self.pongs = 0

    def heard(self, user: User, line: bytes) -> bytes | None:
        if user.frame:
            assert user.frame.pop() == b"PUB room %d" % len(line)
            return line
        word = line.split(b" ", 1)[0]
        if word == b"PUB":
            user.frame.append(line)
        elif word == b"PING":
            self.send(user, b"PONG\r\nPING\r\n")
        elif word == b"PONG":
            self.pongs += 1
        elif word == b"SUB":
            user.joined = True
        return None

    def message(self, sender: User, text: bytes) -> bytes:
        return b"MSG room 1 %d\r\n%b\r\n" % (len(text), text)


class Irc(Server):
    """IRC; it pings each user twice: before and after the user is in."""

    prompt = b""
    end = b"\r\n"

    def __init__(self) -> None:
        super().__init__()
        self.pongs = 0

    def heard(self, user: User, line: bytes) -> bytes | None:
        word, _, rest = line.partition(b" ")
        if word == b"NICK":
            user.name = rest
            self.send(user, b"PING :cookie\r\n")
        elif word == b"PONG":
            self.pongs += 1
            if not user.joined:
                self.reply(user, b"001", b":Welcome")
                self.reply(user, b"422", b":MOTD File is missing")
        elif word == b"JOIN":
            self.join(user, user.name)
            self.send(user, self.notice(user))
            self.reply(user, b"353", b"= #room :%b" % user.name)
            self.reply(user, b"366", b"#room :End of /NAMES list")
            self.send(user, b"PING :again\r\n")
        elif word == b"PRIVMSG":
            return rest.removeprefix(b"#room :")
        elif word == b"LIST":
            self.reply(user, b"451", b":You have not registered")
        return None

    def reply(self, user: User, number: bytes, text: bytes) -> None:
        """Send a numbered reply."""
        self.send(user, b":irc.test %b %b %b\r\n" % (number, user.name or b"*", text))

    def notice(self, user: User) -> bytes:
        return b":%b!~user@127.0.0.1 JOIN :#room\r\n" % user.name

    def message(self, sender: User, text: bytes) -> bytes:
        return b":%b!~user@127.0.0.1 PRIVMSG #room :%b\r\n" % (sender.name, text)


RIGHT: dict[str, type[Server]] = {"chat": Server, "redis": Redis, "nats": Nats, "irc": Irc}

# --- Wrong ones ----------------------------------------------------------------------------------

EVERY = 3  # of so many deliveries of several messages, one is spoiled


class Wrong(Server):
    """Spoils now and then two messages that came together, so that others certainly follow."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces = 0

    def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
        if len(messages) < 2 or receiver is sender:
            return messages
        self._pieces += 1
        if self._pieces % EVERY:
            return messages
        self.wrongs += 1
        return [*self.spoil(*messages[:2]), *messages[2:]]

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What is sent in place of two messages."""
        raise NotImplementedError


class Losing(Wrong):
    """Loses messages."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [second]


class Swapping(Wrong):
    """Sends the later of two messages first."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [second, first]


class Duplicating(Wrong):
    """Sends messages twice."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [first, first, second]


class DuplicatingLater(Wrong):
    """Sends messages once more after the next one."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [first, second, first]


class Damaging(Wrong):
    """Changes one byte of messages, each time at another place."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        at = self.wrongs % (len(first) - 1)  # the line end stays
        other = b"x" if first[at : at + 1] != b"x" else b"y"
        return [first[:at] + other + first[at + 1 :], second]


class DamagingTexts(Wrong):
    """Changes a byte of the text, whatever the protocol puts around it."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [first[:-10] + b"~" + first[-9:], second]


class Cutting(Wrong):
    """Leaves out the last byte of messages."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [first[:-2] + b"\n", second]


class Joining(Wrong):
    """Makes one line of two messages, so that the second is lost."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [first[:-1] + second]


class Renaming(Wrong):
    """Sends messages under the name of another user."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        name, colon, text = first.partition(b":")
        return [(b"u1" if name == b"u0" else b"u0") + colon + text, second]


class Inventing(Wrong):
    """Sends lines of its own between messages."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        return [first, b"u0: nobody has said this\n", second]


class Echoing(Server):
    """Sends some messages back to their sender too."""

    def relay(self, sender: User, texts: list[bytes]) -> None:
        super().relay(sender, texts)
        self.wrongs += 1
        self.send(sender, self.message(sender, texts[0]))


class Later(Server):
    """Counts the pieces that come; subclasses are right at first, and wrong after the second."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = 0

    def relay(self, sender: User, texts: list[bytes]) -> None:
        self.pieces += 1
        super().relay(sender, texts)


class Muting(Later):
    """Sends nothing more to one user."""

    def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
        if receiver is not self.users[2] or self.pieces <= 2:
            return messages
        self.wrongs += len(messages)
        return []


class Dropping(Later):
    """Closes the connection of one receiver, and serves the others."""

    whom = 3

    def relay(self, sender: User, texts: list[bytes]) -> None:
        super().relay(sender, texts)
        if self.pieces == 2:
            self.wrongs += 1
            self.drop(self.users[self.whom])


class DroppingSender(Dropping):
    """Closes the connection of a user who sends too; what it sends then reaches no one."""

    whom = 2


class Pausing(Server):
    """Pauses once, when the first message has come."""

    pause = 0.3

    def relay(self, sender: User, texts: list[bytes]) -> None:
        if self.most_at_once == 0:
            threading.Event().wait(self.pause)
        super().relay(sender, texts)


class Refusing(Server):
    """Refuses every name."""

    def heard(self, user: User, line: bytes) -> bytes | None:
        self.send(user, b"! name in use: %b\n" % line)
        return None


class Leaving(Server):
    """Closes all connections when the first message has come."""

    def relay(self, sender: User, texts: list[bytes]) -> None:
        for user in list(self.users):
            self.drop(user)


# The one count that each must raise.
WRONG: dict[str, tuple[Callable[[], Server], str]] = {
    "loses": (Losing, "lost"),
    "loses the last": (Muting, "lost"),
    "swaps": (Swapping, "swapped"),
    "duplicates": (Duplicating, "duplicates"),
    "duplicates later": (DuplicatingLater, "duplicates"),
    "changes a byte": (Damaging, "damaged"),
    "cuts": (Cutting, "damaged"),
    "renames": (Renaming, "damaged"),
    "invents": (Inventing, "damaged"),
    "echoes": (Echoing, "echoes"),
    "drops": (Dropping, "dropped"),
    "drops a sender": (DroppingSender, "dropped"),
}
