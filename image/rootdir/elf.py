"""Reads what an ELF file asks the loader for, and finds it in a root directory, without running anything of that root."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_GNU_RELRO, PT_GNU_STACK = 2, 3, 1, 0x6474E552, 0x6474E551
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_BIND_NOW, DT_RUNPATH, DT_FLAGS, DT_FLAGS_1 = 1, 5, 14, 15, 24, 29, 30, 0x6FFFFFFB
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
DF_BIND_NOW, DF_1_NOW, ET_DYN, PF_X = 0x8, 0x1, 3, 1

# Where the loader of a merged-/usr amd64 system looks.
LIBRARY_DIRECTORIES = ("usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64")


@dataclass(frozen=True)
class Elf:
    """The loader's view of one 64-bit little-endian ELF file."""

    needed: tuple[str, ...]
    runpath: tuple[str, ...]
    rpath: tuple[str, ...]
    # Symbol versions like GLIBC_2.34.
    versions: tuple[str, ...]
    interpreter: str | None
    position_independent: bool
    relro: bool
    bind_now: bool
    executable_stack: bool


def read(path: Path) -> Elf | None:
    """Returns what `path` asks for, or None where it is no ELF file or has no program headers (a kernel module)."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
            return None
        data = head + file.read()
    kind, programs_at, entry_size, entries = (
        struct.unpack_from("<H", data, 16)[0],
        struct.unpack_from("<Q", data, 32)[0],
        *struct.unpack_from("<HH", data, 54),
    )
    segments = [struct.unpack_from("<IIQQQQQQ", data, programs_at + n * entry_size) for n in range(entries)]
    if not segments:
        return None
    interpreter = next((text(data, offset) for tag, _, offset, *_ in segments if tag == PT_INTERP), None)
    stack = next((flags for tag, flags, *_ in segments if tag == PT_GNU_STACK), PF_X)
    dynamic: list[tuple[int, int]] = []
    for tag, _, offset, _, _, size, *_ in segments:
        if tag == PT_DYNAMIC:
            dynamic = [struct.unpack_from("<qQ", data, offset + at) for at in range(0, size, 16)]
    values = dict(dynamic)
    strings = file_offset(segments, values[DT_STRTAB]) if DT_STRTAB in values else 0

    def texts(wanted: int) -> tuple[str, ...]:
        return tuple(text(data, strings + value) for tag, value in dynamic if tag == wanted)

    def paths(wanted: int) -> tuple[str, ...]:
        return tuple(part for joined in texts(wanted) for part in joined.split(":") if part)

    flags, flags_1 = values.get(DT_FLAGS, 0), values.get(DT_FLAGS_1, 0)
    return Elf(
        needed=texts(DT_NEEDED),
        runpath=paths(DT_RUNPATH),
        rpath=paths(DT_RPATH),
        versions=versions(data, segments, values, strings),
        interpreter=interpreter,
        position_independent=kind == ET_DYN,
        relro=any(segment[0] == PT_GNU_RELRO for segment in segments),
        bind_now=DT_BIND_NOW in values or bool(flags & DF_BIND_NOW) or bool(flags_1 & DF_1_NOW),
        executable_stack=bool(stack & PF_X),
    )


def versions(data: bytes, segments: list[tuple[int, ...]], values: dict[int, int], strings: int) -> tuple[str, ...]:
    """Returns the symbol versions that the file asks of its libraries."""
    if DT_VERNEED not in values:
        return ()
    found = []
    at = file_offset(segments, values[DT_VERNEED])
    for _ in range(values[DT_VERNEEDNUM]):
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        entry = at + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, entry)
            found.append(text(data, strings + name))
            entry += step
        at += following
    return tuple(found)


def text(data: bytes, offset: int) -> str:
    """Returns the NUL-terminated string at `offset`."""
    return data[offset : data.index(b"\0", offset)].decode()


def file_offset(segments: list[tuple[int, ...]], address: int) -> int:
    """Returns where in the file the loaded byte at `address` lies."""
    for tag, _, offset, start, _, size, *_ in segments:
        if tag == PT_LOAD and start <= address < start + size:
            return offset + address - start
    raise ValueError(f"no segment holds address {address:#x}")


def find(root: Path, name: str, user: Path, elf: Elf) -> Path | None:
    """Returns the file that the loader takes for `name` when `user`, a path below `root`, asks for it."""
    if "/" in name:
        candidates = [root / name.lstrip("/")]
    else:
        own = [
            part.replace("$ORIGIN", "/" + str(user.parent.relative_to(root))).replace("${ORIGIN}", "/" + str(user.parent.relative_to(root)))
            for part in elf.runpath + elf.rpath
        ]
        candidates = [root / directory.lstrip("/") / name for directory in [*own, *LIBRARY_DIRECTORIES]]
        # A library beside its user needs no path of its own where the program has loaded it before (systemd's two).
        candidates.append(user.parent / name)
    return next((candidate for candidate in candidates if inside(root, candidate) is not None), None)


def inside(root: Path, path: Path) -> Path | None:
    """Follows links as the root itself would; returns the file, or None where there is none."""
    waiting = list(path.relative_to(root).parts)[::-1]
    at, links = root, 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            at = at if at == root else at.parent
            continue
        step = at / part
        if not step.is_symlink():
            if not step.exists():
                return None
            at = step
            continue
        links += 1
        if links > 40:
            return None
        target = step.readlink()
        at = root if target.is_absolute() else at
        waiting += [part for part in target.parts if part != "/"][::-1]
    return at
