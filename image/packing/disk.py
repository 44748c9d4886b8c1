"""Lays out the disk: a sparse GPT image with ESP and two slots; the rest is left to systemd-repart at first boot.

Called by `image/pack`, `image/disk` and `image/test-variant`.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import esp
from .tools import PackError, run
from .verity import derived_uuid

_MEBIBYTE = 1 << 20
_DISK_GIBIBYTES = 20
_ROOT_MEBIBYTES = 512
_HASH_MEBIBYTES = 16
# Types of the Discoverable Partitions Specification, so that other tools show what the partitions are.
_TYPE_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_TYPE_ROOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_TYPE_HASH = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
_CHUNK = _MEBIBYTE


@dataclass(frozen=True)
class Slot:
    """What a filled slot holds. `entry` is the UKI's name on the ESP, with its boot counter."""

    uki: Path
    entry: str
    data: Path
    hash_tree: Path


def entry_name(slot: str, version: str, tries: int | None) -> str:
    """The UKI's file name; systemd-boot counts `+tries` down, and a name without it is never counted."""
    counter = "" if tries is None else f"+{tries}"
    return f"postern-{slot}_{version}{counter}.efi"


@dataclass(frozen=True)
class Content:
    """Everything that goes onto a disk. `identity` names the build: all GUIDs follow from it, so the same build gives the same disk."""

    slots: dict[str, Slot]
    loader: Path
    loader_config: Path
    epoch: int
    identity: str


def build(output: Path, content: Content) -> None:
    """Writes the raw disk; a slot that `content` does not name stays empty."""
    loader = content.loader
    files = {"EFI/BOOT/BOOTX64.EFI": loader, "EFI/systemd/systemd-bootx64.efi": loader, "loader/loader.conf": content.loader_config}
    files |= {f"EFI/Linux/{slot.entry}": slot.uki for slot in content.slots.values()}
    output.unlink(missing_ok=True)
    with output.open("wb") as stream:
        stream.truncate(_DISK_GIBIBYTES << 30)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        esp_image = Path(scratch) / "esp"
        esp.build(esp_image, files, content.epoch)
        partitions = [_Partition("esp", _TYPE_ESP, esp.MEBIBYTES, esp_image)]
        for name in ("a", "b"):
            slot = content.slots.get(name)
            partitions.append(_Partition(f"root-{name}", _TYPE_ROOT, _ROOT_MEBIBYTES, slot.data if slot else None))
            partitions.append(_Partition(f"root-{name}-hash", _TYPE_HASH, _HASH_MEBIBYTES, slot.hash_tree if slot else None))
        _write_partitions(output, partitions, content.identity)


@dataclass(frozen=True)
class _Partition:
    label: str
    kind: str
    mebibytes: int
    content: Path | None


def _write_partitions(output: Path, partitions: list[_Partition], identity: str) -> None:
    arguments = ["--clear", f"--disk-guid={derived_uuid(f'{identity} disk')}"]
    start = 1
    for number, partition in enumerate(partitions, start=1):
        guid = derived_uuid(f"{identity} {partition.label}")
        arguments += [f"--new={number}:{start}M:+{partition.mebibytes}M", f"--change-name={number}:{partition.label}"]
        arguments += [f"--typecode={number}:{partition.kind}", f"--partition-guid={number}:{guid}"]
        if partition.content is not None:
            _place(partition.content, output, start * _MEBIBYTE, partition.mebibytes * _MEBIBYTE)
        start += partition.mebibytes
    run("sgdisk", *arguments, output)


def _place(content: Path, output: Path, offset: int, room: int) -> None:
    """Copies a file into the disk and leaves holes where it is zero."""
    if content.stat().st_size > room:
        raise PackError(f"{content.name} has {content.stat().st_size} bytes and its partition {room}: make the root smaller")
    with content.open("rb") as source, output.open("r+b") as target:
        while chunk := source.read(_CHUNK):
            if chunk.strip(b"\0"):
                os.pwrite(target.fileno(), chunk, offset)
            offset += len(chunk)
