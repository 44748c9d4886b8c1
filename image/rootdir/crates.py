"""Lists the crates that the appliance's programs are linked from, by asking cargo."""

from __future__ import annotations

import json
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"
SHIPPED = ("postern-gateway", "postern-appliance")


@dataclass(frozen=True)
class Crate:
    """One crate; `checksum` is the registry's SHA-256, absent for our own; `needs` names others of the list."""

    name: str
    version: str
    licence: str | None
    checksum: str | None
    repository: str | None
    needs: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Returns the package URL."""
        return f"pkg:cargo/{self.name}@{self.version}"


def linked(repository: Path) -> list[Crate]:
    """Returns every crate that is linked into a shipped program, sorted; not those that only run while compiling."""
    names = set()
    shipped = [word for name in SHIPPED for word in ("-p", name)]
    tree = ["tree", "--locked", *shipped, "-e", "normal,no-proc-macro", "--target", TARGET, "--prefix", "none", "--format", "{p}"]
    # An empty line stands between the trees of two packages.
    for line in filter(None, cargo(repository, *tree).splitlines()):
        name, version, *_ = line.split()
        names.add((name, version.removeprefix("v")))
    metadata = json.loads(cargo(repository, "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    checksums = {
        (package["name"], package["version"]): package.get("checksum")
        for package in tomllib.loads((repository / "Cargo.lock").read_text())["package"]
    }
    packages = {package["id"]: package for package in metadata["packages"]}
    keys = {identity: (package["name"], package["version"]) for identity, package in packages.items()}
    crates = []
    for node in metadata["resolve"]["nodes"]:
        key = keys[node["id"]]
        if key in names:
            package = packages[node["id"]]
            normal = [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
            needs = sorted(f"pkg:cargo/{keys[dep][0]}@{keys[dep][1]}" for dep in normal if keys[dep] in names)
            crates.append(Crate(*key, package["license"], checksums[key], package["repository"], tuple(needs)))
    return sorted(crates, key=lambda crate: (crate.name, crate.version))


def cargo(repository: Path, *arguments: str) -> str:
    """Runs cargo and returns what it prints."""
    return subprocess.run(["cargo", *arguments], cwd=repository, check=True, stdout=subprocess.PIPE, text=True).stdout
