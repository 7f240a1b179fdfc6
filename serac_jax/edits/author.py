"""Who signs edits."""

from __future__ import annotations

import getpass
import os
import subprocess


def default_author() -> str:
    """$SERAC_AUTHOR, git's user.name or the login name, the first that is there; "" where there is
    none."""
    name = os.environ.get("SERAC_AUTHOR") or git_name() or login()
    return name.encode(errors="replace").decode()  # a name that is no UTF-8 could not be written


def git_name() -> str:
    try:
        return subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user that no table knows
        return ""
