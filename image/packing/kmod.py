"""Picks kernel modules with all that they depend on out of a root directory, uncompressed. Called by `initrd`."""

import lzma
import subprocess
import tempfile
from pathlib import Path

from .tools import PackError, existing, run

# What depmod reads besides the modules, to know what the kernel has built in.
_BUILTIN_FILES = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
# What the initrd's modprobe reads.
_INDEX_FILES = ("modules.alias", "modules.dep", "modules.softdep", "modules.symbols")


def kernel_release(root: Path) -> str:
    """The one kernel that the root carries."""
    folder = existing(root / "usr/lib/modules", "the root holds no kernel modules")
    releases = sorted(entry.name for entry in folder.iterdir() if (entry / "modules.dep").exists())
    if len(releases) != 1:
        raise PackError(f"{folder} must hold the modules of exactly one kernel, and holds {releases or 'none'}")
    return releases[0]


def select(root: Path, release: str, names: list[str]) -> dict[str, bytes]:
    """The modules with their dependencies and the indexes that modprobe needs, by path below `/`."""
    folder = root / "usr/lib/modules" / release
    wanted = _with_dependencies(folder, names)
    with tempfile.TemporaryDirectory() as stage:
        staged = Path(stage) / "lib/modules" / release
        for relative in wanted:
            target = staged / _uncompressed(relative)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_content(folder / relative))
        for name in _BUILTIN_FILES:
            (staged / name).write_bytes((folder / name).read_bytes())
        run("depmod", "-b", stage, release)
        files = [staged / _uncompressed(relative) for relative in wanted] + [staged / name for name in _INDEX_FILES]
        return {str(path.relative_to(stage)): path.read_bytes() for path in files}


def wanted_names(listing: Path) -> list[str]:
    """The names in a list with `#` comments."""
    lines = (line.split("#")[0].strip() for line in listing.read_text().splitlines())
    return [line for line in lines if line]


def _with_dependencies(folder: Path, names: list[str]) -> list[str]:
    dependencies = dict(_dependency_lines((folder / "modules.dep").read_text()))
    paths = {_name(path): path for path in dependencies}
    builtin = {_name(path) for path in (folder / "modules.builtin").read_text().split()}
    unknown = [name for name in names if name not in paths and name not in builtin]
    if unknown:
        raise PackError(f"the kernel in {folder} has no module {', '.join(unknown)}; correct image/initrd/modules")
    roots = [paths[name] for name in names if name in paths]
    return sorted({path for root in roots for path in [root, *dependencies[root]]})


def _dependency_lines(text: str) -> list[tuple[str, list[str]]]:
    pairs = [line.split(":", 1) for line in text.splitlines()]
    return [(path, needed.split()) for path, needed in pairs]


def _name(path: str) -> str:
    return Path(path).name.split(".ko")[0].replace("-", "_")


def _uncompressed(path: str) -> str:
    return path[: path.index(".ko") + len(".ko")]


def _content(path: Path) -> bytes:
    match path.suffix:
        case ".ko":
            return path.read_bytes()
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".zst":
            return subprocess.run(["zstd", "-dcq", str(path)], capture_output=True, check=True).stdout
        case other:
            raise PackError(f"{path}: no way known to unpack {other}")
