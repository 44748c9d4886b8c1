"""Knows a root's kernel: its version, its modules by name, and which modules load which others."""

from __future__ import annotations

from pathlib import Path


def version(root: Path) -> str:
    """Returns the version of the one kernel in the root."""
    found = sorted(path.name for path in (root / "usr/lib/modules").iterdir() if (path / "kernel").is_dir())
    if len(found) != 1:
        raise SystemExit(f"{root}: there must be one kernel in /usr/lib/modules, found: {', '.join(found) or 'none'}")
    return found[0]


def modules(folder: Path) -> dict[str, str]:
    """Returns every module file below `kernel/`, by module name."""
    return {name(str(path)): str(path.relative_to(folder)) for path in sorted(folder.glob("kernel/**/*.ko*"))}


def builtin(folder: Path) -> set[str]:
    """Returns the paths of the modules that are part of the kernel itself, like `kernel/fs/fat`."""
    return {line.removesuffix(".ko") for line in (folder / "modules.builtin").read_text().splitlines()}


def dependencies(folder: Path) -> dict[str, set[str]]:
    """Returns for each module file the module files that it needs, hard and soft (weak ones are taken as optional)."""
    needs: dict[str, set[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, wanted = line.partition(":")
        needs[path] = set(wanted.split())
    by_name = {name(path): path for path in needs}
    for line in (folder / "modules.softdep").read_text().splitlines():
        words = line.split()
        if words[:1] == ["softdep"] and name(words[1]) in by_name:
            wanted = {by_name[name(word)] for word in words[2:] if not word.endswith(":") and name(word) in by_name}
            needs[by_name[name(words[1])]] |= wanted
    return needs


def name(path: str) -> str:
    """Returns a module's name as the kernel writes it."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def closure(wanted: set[str], needs: dict[str, set[str]]) -> set[str]:
    """Returns `wanted` and everything that they need."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(needs.get(path, ()))
    return found
