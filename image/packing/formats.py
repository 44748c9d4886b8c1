"""Turns the raw disk into what each hypervisor imports, with bytes that follow from the disk alone. Called by `image/pack`."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

from . import vhdx
from .tools import PackError, run

_SEGMENT = 64 << 20
_DESCRIPTOR = slice(512, 512 + 20 * 512)


def vmdk(raw: Path, output: Path, identity: str) -> None:
    """For ESXi and VirtualBox: streamOptimized. qemu-img draws the content id at random; here it follows from the build."""
    run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic,hwversion=19", raw, output)
    content_id = hashlib.sha256(identity.encode()).hexdigest()[:8].encode()
    with output.open("r+b") as stream:
        header = stream.read(_DESCRIPTOR.stop)
        found = re.search(rb"\nCID=([0-9a-f]{8})\n", header)
        if found is None:
            raise PackError(f"{output}: qemu-img wrote a descriptor without a content id")
        stream.seek(found.start(1))
        stream.write(content_id)


def qcow2(raw: Path, output: Path) -> None:
    """For KVM and Proxmox (QEMU 5.1 or newer: zstd clusters)."""
    run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", raw, output)


def vhdx_image(raw: Path, output: Path, identity: str) -> None:
    """For Hyper-V, generation 2."""
    run("qemu-img", "convert", "-O", "vhdx", "-o", "subformat=dynamic", raw, output)
    vhdx.fix_identity(output, identity)


def raw_zst(raw: Path, output: Path) -> None:
    """For everything else. A frame for each segment; one made beforehand stands for every hole, so that 20 GiB cost as much as their contents."""
    zeros = _frame(b"\0" * _SEGMENT)
    size = raw.stat().st_size
    if size % _SEGMENT:
        raise PackError(f"{raw} is no multiple of {_SEGMENT} bytes")
    with raw.open("rb") as source, output.open("wb") as target:
        for offset in range(0, size, _SEGMENT):
            target.write(zeros if _is_hole(source.fileno(), offset) else _frame(os.pread(source.fileno(), _SEGMENT, offset)))


def _is_hole(descriptor: int, offset: int) -> bool:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA) >= offset + _SEGMENT
    except OSError:
        return True  # nothing but holes until the end


def _frame(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-T1", "-3"], input=content, capture_output=True, check=True).stdout
