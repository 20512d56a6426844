"""A chat server as a beginner writes it first: it asks for a name, and relays lines. No more."""

import argparse
import socket
import threading

room: dict[socket.socket, str] = {}


def relay(line: str, sender: socket.socket) -> None:
    for user in list(room):
        if user is not sender:
            user.sendall(f"{room[sender]}: {line}".encode())


def serve(user: socket.socket) -> None:
    user.sendall(b"Enter your screen name: ")
    lines = user.makefile(encoding="utf-8")
    room[user] = lines.readline().strip()
    for line in lines:
        relay(line, user)
    del room[user]
    user.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options, _ = parser.parse_known_args()
    listener = socket.create_server((options.host, options.port))
    print(f"Listening on {options.host}:{listener.getsockname()[1]}", flush=True)
    while True:
        user, _ = listener.accept()
        threading.Thread(target=serve, args=(user,), daemon=True).start()


if __name__ == "__main__":
    main()
