"""Asks the real executable whether a file and variables that something has rendered are right settings."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAHOOK = os.environ.get("WAHOOK_BIN", str(ROOT / "target/debug/wahook"))
PREFIX = "WAHOOK__"
# Between the end of a drain and SIGKILL.
MARGIN_SECONDS = 5
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def wahook(*arguments, env=None):
    """Runs it with these variables of its own and no others."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return subprocess.run([WAHOOK, *map(str, arguments)], env=outside | (env or {}), capture_output=True, text=True, timeout=30)


def keys_file(path):
    """A keys file as `wahook secrets new-key` makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(wahook("secrets", "new-key").stdout)


def certificate(path):
    """A certificate for a place where an authority belongs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ca", "-days", "1"]
    subprocess.run([*command, "-keyout", os.devnull, "-out", path], check=True, capture_output=True)


def faults(place, env, config=None):
    """What `wahook check-config` says against them."""
    done = wahook("check-config", *(["--config", config] if config else []), env=env)
    if done.returncode != 0:
        yield f"{place}: {done.stderr.strip() or done.stdout.strip()}"


def command_faults(place, arguments):
    """What the executable says against a command line. It reads it up to `--help`, and does nothing."""
    done = wahook(*arguments, "--help")
    if done.returncode != 0:
        yield f"{place}: wahook {' '.join(arguments)}: {done.stderr.strip()}"


def seconds(text):
    """A duration as wahook, Docker Compose and systemd write it, like 25s or 1m30s."""
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smh])", text))


def stop_faults(place, limit, env=None, config=None):
    """Whether a process that gets so many seconds after SIGTERM has the time to drain."""
    dump = wahook("dump-config", *(["--config", config] if config else []), env=env).stdout
    needed = sum(seconds(value) for value in re.findall(r'^drain_(?:delay|deadline) = "(.*?)"', dump, re.MULTILINE))
    if not needed or limit < needed + MARGIN_SECONDS:
        yield f"{place}: is killed after {limit:.0f} s, and may take {needed:.0f} s to drain"
