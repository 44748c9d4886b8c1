"""Makes the EFI system partition as a file, without mounting anything. Called by `disk`."""

from pathlib import Path

from .tools import run

MEBIBYTES = 256
# 32-bit FAT has no dates before this.
_EARLIEST = 315532800


def build(output: Path, files: dict[str, Path], epoch: int) -> None:
    """Writes a FAT32 file system with these files; the volume id is constant and every time stamp is `epoch`."""
    output.unlink(missing_ok=True)
    with output.open("wb") as stream:
        stream.truncate(MEBIBYTES << 20)
    run("mkfs.vfat", "-F", "32", "-n", "ESP", "--invariant", output)
    fixed_time = {"SOURCE_DATE_EPOCH": str(max(epoch, _EARLIEST))}
    for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
        run("mmd", "-i", output, f"::{folder}", env=fixed_time)
    for name, source in sorted(files.items()):
        run("mcopy", "-i", output, source, f"::{name}", env=fixed_time)
