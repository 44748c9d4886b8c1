"""Builds the initrd: busybox, veritysetup, blkid, the modules that find a disk, and the init script. Called by `image/pack`.

The programs come from the build host, so that the root needs neither: the manifest names the packages and their versions.
"""

import re
import stat
import subprocess
from pathlib import Path

from . import cpio, kmod
from .tools import PackError, existing, run

_BUSYBOX = Path("/bin/busybox")
_PROGRAMS = {"sbin/veritysetup": Path("/usr/sbin/veritysetup"), "sbin/blkid": Path("/usr/sbin/blkid")}
_APPLETS = (
    "cat chmod cut echo find grep mkdir modprobe mount readlink reboot sed sha256sum sh sleep sort switch_root tail tr umount wc xargs"
)
_MOUNT_POINTS = ("dev", "proc", "sys", "run", "sysroot", "tmp", "bin", "sbin")
_ZSTD_LEVEL = "-15"


def build(root: Path, release: str, sources: Path) -> bytes:
    """The compressed initrd for this kernel; `sources` is `image/initrd`."""
    modules = kmod.select(root, release, kmod.wanted_names(sources / "modules"))
    entries = {name: cpio.directory() for name in _MOUNT_POINTS}
    entries["dev/console"] = cpio.Entry(stat.S_IFCHR | 0o600, device=(5, 1))
    entries["init"] = cpio.regular((sources / "init").read_bytes(), 0o755)
    entries["bin/busybox"] = cpio.regular(_static(_BUSYBOX), 0o755)
    entries |= {f"bin/{applet}": cpio.symlink("busybox") for applet in _APPLETS.split()}
    # The kernel asks for modules under this name.
    entries["sbin/modprobe"] = cpio.symlink("../bin/busybox")
    for name, program in _PROGRAMS.items():
        entries[name] = cpio.regular(existing(program, "run image/install-tools").read_bytes(), 0o755)
        entries |= {str(library)[1:]: cpio.regular(library.read_bytes(), 0o755) for library in _libraries(program)}
    entries |= {name: cpio.regular(content) for name, content in modules.items()}
    return compress(cpio.archive(entries))


def compress(archive: bytes) -> bytes:
    """Compresses with one thread, so that the bytes do not depend on the machine."""
    return subprocess.run(["zstd", "-q", "-T1", "--no-check", _ZSTD_LEVEL], input=archive, capture_output=True, check=True).stdout


def files() -> list[Path]:
    """The files of the build host that the initrd carries."""
    libraries = {library for program in _PROGRAMS.values() for library in _libraries(program)}
    return sorted({_BUSYBOX, *_PROGRAMS.values(), *libraries})


def _static(program: Path) -> bytes:
    content = existing(program, "install busybox-static").read_bytes()
    if b"/lib64/ld-linux" in content:
        raise PackError(f"{program} needs libraries; install busybox-static in place of busybox")
    return content


def _libraries(program: Path) -> list[Path]:
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", run("ldd", program))]
