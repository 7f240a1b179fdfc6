"""Who signs edits and operations."""

from __future__ import annotations

import getpass
import os
import subprocess


def default_author() -> str:
    """$SERAC_AUTHOR, git's user.name or the login name, whichever is set first; "" if none is."""
    name = os.environ.get("SERAC_AUTHOR") or git_name() or login()
    return name.encode(errors="replace").decode()  # a name that is not UTF-8 cannot be written


def git_name() -> str:
    """git's user.name, or ""."""
    try:
        return subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""


def login() -> str:
    """The login name, or ""."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry in /etc/passwd
        return ""
