"""Writes a `newc` cpio archive whose bytes depend on nothing but names, modes and contents. Called by `initrd`."""

import stat
from dataclasses import dataclass
from pathlib import Path

_HEADER_FIELDS = 13
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file of the archive; `device` is major and minor of a device node."""

    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory() -> Entry:
    """A directory that everybody may enter."""
    return Entry(stat.S_IFDIR | 0o755)


def regular(content: bytes, permissions: int = 0o644) -> Entry:
    """A file with this content."""
    return Entry(stat.S_IFREG | permissions, content)


def symlink(target: str) -> Entry:
    """A symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def archive(entries: dict[str, Entry]) -> bytes:
    """Packs the entries in the order of their names, with every missing parent directory, owned by root, dated 1970."""
    complete = {**_parents(entries), **entries}
    packed = b"".join(_member(number, name, complete[name]) for number, name in enumerate(sorted(complete), start=1))
    return packed + _member(0, _TRAILER, Entry(0))


def _parents(entries: dict[str, Entry]) -> dict[str, Entry]:
    names = {str(parent) for name in entries for parent in Path(name).parents} - {"."}
    return {name: directory() for name in names}


def _member(inode: int, name: str, entry: Entry) -> bytes:
    raw_name = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = [inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(raw_name), 0]
    assert len(fields) == _HEADER_FIELDS
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(header + raw_name) + _padded(entry.content)


def _padded(raw: bytes) -> bytes:
    return raw + b"\0" * (-len(raw) % 4)
