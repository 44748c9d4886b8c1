"""Says which packages of the build host ended up in the image: everything that is not in the root's own list. Called by `image/pack`."""

import subprocess
from pathlib import Path

from .tools import PackError, run


def packages_of(files: list[Path]) -> dict[str, str]:
    """The packages that own these files, with their versions. dpkg may know a file under its path with or without `/usr`."""
    names = {spelling: path for path in files for spelling in _spellings(path)}
    found = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True, check=False).stdout
    owners = {names[name]: owner.split(":")[0] for owner, name in (line.split(": ", 1) for line in found.splitlines()) if name in names}
    without = [str(path) for path in files if path not in owners]
    if without:
        raise PackError(f"no package owns {', '.join(without)}: an image is only made from packaged programs")
    printed = run("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *sorted(set(owners.values())))
    return dict(sorted((line.split()[0], line.split()[1]) for line in printed.splitlines()))


def _spellings(path: Path) -> tuple[str, str]:
    below = path.relative_to("/usr") if path.is_relative_to("/usr") else path.relative_to("/")
    return f"/{below}", f"/usr/{below}"
