"""Runs the programs that packing needs, and says what to do when one is missing or fails. Called by every other module."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


class PackError(Exception):
    """Something that the caller can put right; the text says how."""


def run(*command: str | Path, env: dict[str, str] | None = None, stdin: bytes | None = None) -> str:
    """Runs one command and returns what it printed; its own messages come back in the error. Time stamps are given by the caller only."""
    words = [str(word) for word in command]
    inherited = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    environment = {**inherited, "LC_ALL": "C", "TZ": "UTC", **(env or {})}
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, env=environment, check=False)
    except FileNotFoundError as missing:
        raise PackError(f"{words[0]} is not installed; run image/install-tools") from missing
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise PackError(f"`{' '.join(words)}` failed with status {done.returncode}:\n{said}")
    return done.stdout.decode()


def require(*programs: str) -> None:
    """Refuses to begin when a program is not installed, naming all that are missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise PackError(f"not installed: {', '.join(missing)}; run image/install-tools")


def existing(path: Path, hint: str) -> Path:
    """Returns `path`, or says what should have put it there."""
    if not path.exists():
        raise PackError(f"{path} does not exist; {hint}")
    return path


@dataclass(frozen=True)
class Measured:
    """A finished file with its size and SHA-256, so that no file is read twice."""

    path: Path
    size: int
    sha256: str

    def facts(self) -> dict[str, int | str]:
        """As the manifest shows it."""
        return {"bytes": self.size, "sha256": self.sha256}


def measure(path: Path) -> Measured:
    """Reads a finished file once."""
    return Measured(path, path.stat().st_size, sha256(path))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
