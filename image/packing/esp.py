"""Makes the EFI system partition as a file, without mounting anything. Called by `disk`."""

import hashlib
from pathlib import Path

from .tools import run

MEBIBYTES = 256
# 32-bit FAT has no dates before this.
_EARLIEST = 315532800


def build(output: Path, files: dict[str, Path], epoch: int) -> None:
    """Writes a FAT32 file system with these files; volume id and every time stamp follow from the contents and `epoch`."""
    output.unlink(missing_ok=True)
    with output.open("wb") as stream:
        stream.truncate(MEBIBYTES << 20)
    volume_id = hashlib.sha256("\n".join(files).encode()).hexdigest()[:8]
    run("mkfs.vfat", "-F", "32", "-n", "ESP", "-i", volume_id, "--invariant", output)
    fixed_time = {"SOURCE_DATE_EPOCH": str(max(epoch, _EARLIEST))}
    for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
        run("mmd", "-i", output, f"::{folder}", env=fixed_time)
    for name, source in sorted(files.items()):
        run("mcopy", "-i", output, source, f"::{name}", env=fixed_time)
