"""Reads and rewrites a root's dpkg database, so that it names what is really in the root once image/prune has been there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

DATABASE = "usr/lib/sysimage/dpkg"
MERGED = ("bin", "sbin", "lib", "lib64")


@dataclass
class Package:
    """One installed package: its stanza as it stands, and its files as paths without a leading `/`, /usr merged."""

    name: str
    version: str
    architecture: str
    source: str
    stanza: str
    info: str
    files: list[str] = field(default_factory=list)


def database(root: Path) -> Path:
    """Returns where the database lies: where image/prune puts it, else where dpkg does."""
    moved = root / DATABASE
    return moved if (moved / "status").is_file() else root / "var/lib/dpkg"


def packages(root: Path) -> dict[str, Package]:
    """Reads every package that is installed, by name."""
    folder = database(root)
    found = {}
    for stanza in (folder / "status").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status") != "install ok installed":
            continue
        name, architecture = fields["Package"], fields["Architecture"]
        info = name if (folder / "info" / f"{name}.list").exists() else f"{name}:{architecture}"
        listed = (folder / "info" / f"{info}.list").read_text().splitlines()
        source = fields.get("Source", name)
        found[name] = Package(name, fields["Version"], architecture, source, stanza.strip("\n"), info, [merged(p) for p in listed if p != "/."])
    return found


def merged(path: str) -> str:
    """Returns `path` as the merged /usr has it, without a leading `/`."""
    path = path.lstrip("/")
    return f"usr/{path}" if path.split("/", 1)[0] in MERGED else path


def write(root: Path, kept: list[Package]) -> None:
    """Writes a database of `kept` only, with the files that the root still has, to its new place."""
    old, new = database(root), root / DATABASE
    (new / "info").mkdir(parents=True, exist_ok=True)
    for package in kept:
        present = [path for path in package.files if os.path.lexists(root / path)]
        (new / "info" / f"{package.info}.list").write_text("".join(f"/{path}\n" for path in present))
        sums = old / "info" / f"{package.info}.md5sums"
        if sums.is_file():
            lines = [line.split("  ", 1) for line in sums.read_text().splitlines()]
            regular = {path for path in present if (root / path).is_file() and not (root / path).is_symlink()}
            (new / "info" / f"{package.info}.md5sums").write_text(
                "".join(f"{digest}  {merged(path)}\n" for digest, path in lines if merged(path) in regular)
            )
    stanzas = sorted(kept, key=lambda package: package.name)
    (new / "status").write_text("".join(f"{package.stanza}\n\n" for package in stanzas))
