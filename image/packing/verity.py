"""Makes the read-only root: a squashfs image and the dm-verity hash tree over it. Called by `image/pack`."""

import re
import uuid
from pathlib import Path

from .tools import PackError, run, sha256

# What exists only on the machine (mount points, written at run time) or went into the UKI (the kernel).
_KERNEL = ("boot/vmlinuz*", "boot/initrd*", "boot/System.map*", "initrd.img*", "vmlinuz*", "usr/lib/modules/*/vmlinuz")
_EXCLUDED = ("dev/*", "proc/*", "run/*", "sys/*", "tmp/*", "var/*", *_KERNEL)
_NAMESPACE = uuid.UUID("8d0f4b4e-5ac6-4c0e-9d3f-0c7f5a1f2b61")


def squash(root: Path, output: Path, epoch: int, level: int) -> None:
    """Packs the root; every time stamp becomes `epoch`."""
    output.unlink(missing_ok=True)
    times = ["-mkfs-time", str(epoch), "-all-time", str(epoch)]
    compression = ["-comp", "zstd", "-Xcompression-level", str(level), "-b", "256K"]
    run("mksquashfs", root, output, *compression, *times, "-noappend", "-no-progress", "-quiet", "-wildcards", "-e", *_EXCLUDED)


def hash_tree(data: Path, output: Path) -> str:
    """Writes the hash tree and returns the root hash. Salt and UUID follow from the content, so the same root gives the same tree."""
    digest = sha256(data)
    output.unlink(missing_ok=True)
    printed = run("veritysetup", "format", "--salt", digest, "--uuid", str(derived_uuid(digest)), data, output)
    found = re.search(r"Root hash:\s*([0-9a-f]{64})", printed)
    if found is None:
        raise PackError(f"veritysetup printed no root hash:\n{printed}")
    return found[1]


def derived_uuid(name: str) -> uuid.UUID:
    """A UUID that follows from a name, for everything that wants one and must not be random."""
    return uuid.uuid5(_NAMESPACE, name)
