"""What a systemd unit runs once its drop-ins are counted in. Used by image/prune and image/check-root."""

from __future__ import annotations

import re
from pathlib import Path

FOLDERS = ("usr/lib/systemd/system", "etc/systemd/system")
COMMAND = re.compile(r"^(Exec\w+)=(.*)$", re.MULTILINE)
PROGRAM = re.compile(r"[@:+!|]*(/\S+)")


def programs(root: Path, unit: Path) -> list[str]:
    """Returns the programs that must be there, of every Exec line that counts: `-` lets one be missing, an empty assignment takes back those before it (systemd.service(5))."""
    commands: dict[str, list[str]] = {}
    for text in [unit.read_text()] + [path.read_text() for path in drop_ins(root, unit.name)]:
        for key, command in COMMAND.findall(text):
            program = PROGRAM.match(command)
            if program:
                commands.setdefault(key, []).append(program[1])
            elif not command.strip():
                commands[key] = []
    return [program for group in commands.values() for program in group]


def drop_ins(root: Path, name: str) -> list[Path]:
    """Finds the unit's own drop-ins in the order in which they count: by file name, /etc before /usr/lib."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        found |= {path.name: path for path in sorted((root / folder / f"{name}.d").glob("*.conf"))}
    return [found[key] for key in sorted(found)]
