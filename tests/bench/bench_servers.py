"""Small servers that the load generator of the bench is tested with: right ones in each of its
protocols, and chat servers that are each wrong in one way and count how often they were."""

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
        self.rest = b""  # a line that has not come whole
        self.frame: list[bytes] = []  # the lines of a message that takes several


class Server:
    """A right chat server, for as many users as a test has, in a thread.

    What comes from a user in one piece is passed on in one piece to each receiver, by way of
    `spoiled`; a wrong server overrides that, and counts in `wrongs` what it has done.
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
        """End `run`, which another thread is in."""
        self._wake.close()

    def close(self) -> None:
        """End all connections."""
        for user in self.users:
            user.connection.close()
        self.listener.close()
        self._asleep.close()
        self._selector.close()

    def accept(self) -> None:
        """Greet somebody who comes."""
        user = User(self.listener.accept()[0])
        user.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.users.append(user)
        self._selector.register(user.connection, selectors.EVENT_READ, user)
        self.send(user, self.prompt)

    def send(self, user: User, data: bytes) -> None:
        """Send somebody something who may have gone meanwhile."""
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
        """Take what has come from somebody."""
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
        """Pass messages on to all whom they are for."""
        self.most_at_once = max(self.most_at_once, len(texts))
        messages = [self.message(sender, text) for text in texts]
        for receiver in list(self.users):
            if receiver.joined and (self.returns_own or receiver is not sender):
                self.deliver(sender, receiver, messages)

    def deliver(self, sender: User, receiver: User, messages: list[bytes]) -> None:
        """Pass messages on to one of them."""
        self.send(receiver, b"".join(self.spoiled(sender, receiver, messages)))

    def heard(self, user: User, line: bytes) -> bytes | None:
        """Act on a line; the text that it holds, if it does."""
        if user.joined:
            return line
        self.join(user, line)
        self.send(user, b"Welcome, %b (%d online). Type /help for commands.\n" % (line, 1))
        return None

    def join(self, user: User, name: bytes) -> None:
        """Let somebody in; all others see it."""
        user.name, user.joined = name, True
        for other in self.users:
            if other.joined and other is not user:
                self.send(other, self.notice(user))

    def notice(self, user: User) -> bytes:
        """What others see when somebody has come."""
        return b"%b has joined the chat\n" % user.name

    def message(self, sender: User, text: bytes) -> bytes:
        """A message as receivers get it."""
        return b"%b: %b\n" % (sender.name, text)

    def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
        """What becomes of messages on their way to a receiver."""
        return messages


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server that runs beside the test."""
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
    """RESP3: a map that greets, pushes for messages, and a number for who has published."""

    prompt = b""
    end = b"\r\n"
    returns_own = True

    def heard(self, user: User, line: bytes) -> bytes | None:
        """Act on a line; a message is an array of three, each with its length before it."""
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
        """A message as receivers get it."""
        return b">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$%d\r\n%b\r\n" % (len(text), text)


class Nats(Server):
    """NATS, which sends a ping now and then."""

    prompt = b'INFO {"server_id":"fake","max_payload":1048576}\r\n'
    end = b"\r\n"

    def __init__(self) -> None:
        super().__init__()
        self.pongs = 0

    def heard(self, user: User, line: bytes) -> bytes | None:
        """Act on a line; a message is two."""
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
        """A message as receivers get it."""
        return b"MSG room 1 %d\r\n%b\r\n" % (len(text), text)


class Irc(Server):
    """IRC, which sends a ping while somebody comes and one when it is in."""

    prompt = b""
    end = b"\r\n"

    def __init__(self) -> None:
        super().__init__()
        self.pongs = 0

    def heard(self, user: User, line: bytes) -> bytes | None:
        """Act on a line."""
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
        """What others see when somebody has come."""
        return b":%b!~user@127.0.0.1 JOIN :#room\r\n" % user.name

    def message(self, sender: User, text: bytes) -> bytes:
        """A message as receivers get it."""
        return b":%b!~user@127.0.0.1 PRIVMSG #room :%b\r\n" % (sender.name, text)


RIGHT: dict[str, type[Server]] = {"chat": Server, "redis": Redis, "nats": Nats, "irc": Irc}

# --- Wrong ones ----------------------------------------------------------------------------------

EVERY = 3  # deliveries of several messages; one of so many is spoiled


class Wrong(Server):
    """Spoils two messages that came together now and then, so that others follow for certain."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces = 0

    def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
        """What becomes of messages on their way to a receiver."""
        if len(messages) < 2 or receiver is sender:
            return messages
        self._pieces += 1
        if self._pieces % EVERY:
            return messages
        self.wrongs += 1
        return [*self.spoil(*messages[:2]), *messages[2:]]

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        raise NotImplementedError


class Losing(Wrong):
    """Loses messages."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [second]


class Swapping(Wrong):
    """Sends the later of two first."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [second, first]


class Duplicating(Wrong):
    """Sends messages twice."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [first, first, second]


class DuplicatingLater(Wrong):
    """Sends messages once more when another has come."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [first, second, first]


class Damaging(Wrong):
    """Changes one byte of messages, each time another one."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        at = self.wrongs % (len(first) - 1)  # the line end stays
        other = b"x" if first[at : at + 1] != b"x" else b"y"
        return [first[:at] + other + first[at + 1 :], second]


class DamagingTexts(Wrong):
    """Changes a byte of what was said, whatever the protocol puts around it."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [first[:-10] + b"~" + first[-9:], second]


class Cutting(Wrong):
    """Leaves out the last byte of messages."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [first[:-2] + b"\n", second]


class Joining(Wrong):
    """Makes one line of two messages: the second is lost in it."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [first[:-1] + second]


class Renaming(Wrong):
    """Passes messages on under another user's name."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        name, colon, text = first.partition(b":")
        return [(b"u1" if name == b"u0" else b"u0") + colon + text, second]


class Inventing(Wrong):
    """Sends lines of its own between messages."""

    def spoil(self, first: bytes, second: bytes) -> list[bytes]:
        """What becomes of two messages."""
        return [first, b"u0: nobody has said this\n", second]


class Echoing(Server):
    """Sends messages back to their sender, too, now and then."""

    def relay(self, sender: User, texts: list[bytes]) -> None:
        """Pass messages on to all whom they are for, and to one more."""
        super().relay(sender, texts)
        self.wrongs += 1
        self.send(sender, self.message(sender, texts[0]))


class Later(Server):
    """Is right at first: what comes after the second piece is another matter."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = 0

    def relay(self, sender: User, texts: list[bytes]) -> None:
        """Pass messages on to all whom they are for."""
        self.pieces += 1
        super().relay(sender, texts)


class Muting(Later):
    """Sends one user nothing more."""

    def spoiled(self, sender: User, receiver: User, messages: list[bytes]) -> Iterable[bytes]:
        """What becomes of messages on their way to a receiver."""
        if receiver is not self.users[2] or self.pieces <= 2:
            return messages
        self.wrongs += len(messages)
        return []


class Dropping(Later):
    """Ends one receiver's connection, and goes on with the others."""

    whom = 3

    def relay(self, sender: User, texts: list[bytes]) -> None:
        """Pass messages on to all whom they are for."""
        super().relay(sender, texts)
        if self.pieces == 2:
            self.wrongs += 1
            self.drop(self.users[self.whom])


class DroppingSender(Dropping):
    """Ends the connection of one who sends, too: what it sends then comes to nobody."""

    whom = 2


class Pausing(Server):
    """Stands still once, when the first message has come."""

    pause = 0.3

    def relay(self, sender: User, texts: list[bytes]) -> None:
        """Pass messages on to all whom they are for."""
        if self.most_at_once == 0:
            threading.Event().wait(self.pause)
        super().relay(sender, texts)


class Refusing(Server):
    """Refuses every name."""

    def heard(self, user: User, line: bytes) -> bytes | None:
        """Act on a line."""
        self.send(user, b"! name in use: %b\n" % line)
        return None


class Leaving(Server):
    """Ends everybody's connection when the first message has come."""

    def relay(self, sender: User, texts: list[bytes]) -> None:
        """Pass messages on to all whom they are for; in truth to nobody."""
        for user in list(self.users):
            self.drop(user)


# What each is counted as, and nothing else.
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
