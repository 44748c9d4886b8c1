"""Knows the source that an image is built from: the time that everything built from it is dated, and what differs from the commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def epoch() -> int:
    """Returns the time of everything in an image: SOURCE_DATE_EPOCH, else when the last commit was made."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or git("log", "-1", "--format=%ct"))


def changed() -> list[str]:
    """Returns the tracked files that differ from the commit."""
    return git("diff", "--name-only", "HEAD").splitlines()


def git(*arguments: str) -> str:
    """Runs git in this repository and returns what it prints."""
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
