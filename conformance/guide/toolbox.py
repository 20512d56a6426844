"""The tools that programs and the harness need, and how to install those that are lacking."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from conformance import __version__
from conformance.builds.build import find_program, version_of
from conformance.model import MACHINE, Implementation
from conformance.play.terminals.terminal import why_no_terminal
from conformance.read import manifest
from conformance.read.suite import SuiteFile
from conformance.session.machine import present

_PACKAGES = {  # program → Debian packages
    "cargo": "cargo",
    "clang": "clang",
    "g++": "g++",
    "gcc": "gcc libc6-dev",
    "ghc": "ghc",
    "go": "golang",
    "java": "default-jre-headless",
    "javac": "default-jdk-headless",
    "make": "make",
    "node": "nodejs",
    "npm": "npm",
    "ocaml": "ocaml",
    "perl": "perl",
    "php": "php-cli",
    "python3": "python3",
    "ruby": "ruby",
    "rustc": "rustc",
}

_OF_THE_MACHINE = {  # a remedy for each key of MACHINE
    "ipv6": "sysctl -w net.ipv6.conf.lo.disable_ipv6=0; without it, some scenarios are not played",
    "namespaces": "be root, or sysctl -w kernel.unprivileged_userns_clone=1; apt-get install "
    "util-linux iproute2",
    "processors": "taskset -cp 0,1 $$; on one processor, some scenarios are not played",
}


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that is needed."""

    name: str
    what: str = ""  # its version, or a remark
    lacking: str = ""  # why it cannot be used; empty: it can be
    remedy: str = ""


def on_this_machine(suite: SuiteFile) -> list[Tool]:
    """The tools of the harness, then those of the implementations of a suite."""
    return [*_of_the_harness(), *_of_programs(suite)]


def _of_the_harness() -> Iterator[Tool]:
    version = f"{platform.python_version()}, pexpect {metadata.version('pexpect')}"
    yield Tool("python", f"{version}, conformance {__version__}")
    why = why_no_terminal()
    yield Tool("a terminal", "a pty can be opened", why, "mount devpts: mount -t devpts d /dev/pts")
    has = present()
    for name, reason in MACHINE.items():
        lacking = "" if name in has else reason
        yield Tool(name, "available", lacking, _OF_THE_MACHINE[name])


def _of_programs(suite: SuiteFile) -> Iterator[Tool]:
    """The programs that implementations need, each with the labels of these implementations."""
    users: dict[str, list[Implementation]] = {}
    for one in manifest.find(suite.implementation_folders):
        for name in one.needs:
            users.setdefault(name, []).append(one)
    for name, some in sorted(users.items()):
        labels = ", ".join(one.label for one in some)
        if find_program(name):
            yield Tool(name, f"{version_of(name)} ({labels})")
        else:
            yield Tool(name, "", f"is not on PATH, needed by {labels}", remedy_for(name))


def remedy_for(name: str) -> str:
    """How to install a program; empty if it is installed."""
    return "" if find_program(name) else package_of(name)


def package_of(name: str) -> str:
    """How to install a program."""
    package = _PACKAGES.get(name)
    return (
        f"apt-get install {package}" if package else f"install `{name}`, so that PATH leads there"
    )
