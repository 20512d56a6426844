"""The servers that people would pick, and how each is configured.

Each listens on loopback only, asks no name service, stores nothing, and has no limit that the bench
could reach, so that its speed is measured and not its default limits. This module is data only: it
knows nothing of how a server is started.
"""

from __future__ import annotations

from dataclasses import dataclass

_REDIS = """\
bind {host}
port {port}
daemonize no
protected-mode no
save ""
appendonly no
maxclients 15000
tcp-backlog 1024
client-output-buffer-limit pubsub 0 0 0
loglevel warning
dir {folder}
"""

_NATS = """\
listen: "{host}:{port}"
max_connections: 15000
max_pending: 1GB
write_deadline: "60s"
ping_interval: "10m"
"""

_NGIRCD = """\
[Global]
Name = bench.example.net
Info = bench
AdminInfo1 = bench
Listen = {host}
Ports = {port}
MotdPhrase = bench
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 31
MaxPenaltyTime = 0
PingTimeout = 3600
PongTimeout = 3600
[Options]
DNS = no
Ident = no
PAM = no
"""

_INSPIRCD = """\
<server name="bench.example.net" description="bench" network="bench" id="0BE">
<admin name="bench" nick="bench" email="bench@example.net">
<bind address="{host}" port="{port}" type="clients">
<connect name="main" allow="*" limit="15000" localmax="15000" globalmax="15000" maxconnwarn="no"
    maxchans="20" resolvehostnames="no" useident="no" timeout="60" pingfreq="10m"
    softsendq="256M" hardsendq="1G" recvq="256M"
    threshold="1000000" commandrate="1000000000" fakelag="no">
<performance softlimit="15000" somaxconn="1024" netbuffersize="65534" clonesonconnect="no">
<limits maxnick="32" maxident="32">
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """One such server; its name is that of its program without `-server`."""

    name: str
    title: str
    program: str
    package: str  # Debian's
    protocol: str
    options: tuple[str, ...]  # of its command line; {config} is filled in
    config: str  # the text of its configuration file; {host}, {port}, {folder} are filled in


PEERS = (
    Peer("redis", "Redis pub/sub", "redis-server", "redis-server", "redis", ("{config}",), _REDIS),
    Peer("nats", "NATS", "nats-server", "nats-server", "nats", ("-c", "{config}"), _NATS),
    Peer("ngircd", "ngIRCd", "ngircd", "ngircd", "irc", ("--nodaemon", "-f", "{config}"), _NGIRCD),
    Peer(
        "inspircd",
        "InspIRCd",
        "inspircd",
        "inspircd",
        "irc",
        ("--nofork", "--nolog", "--nopid", "--runasroot", "--config", "{config}"),
        _INSPIRCD,
    ),
)
