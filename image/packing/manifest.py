"""Writes down what was built (manifest.json) and from what (provenance.json), without anything that differs from build to build. Called by `image/pack`."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import initrd, signing
from .parts import Parts
from .tools import PackError, sha256

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:postern:image-pack:1"


@dataclass(frozen=True)
class Source:
    """The source that the image was built from, and who says so."""

    commit: str
    builder: str


def data_encryption(root: Path) -> str:
    """How the data partitions of this root are made, read from its systemd-repart definitions."""
    texts = [path.read_text() for path in sorted((root / "usr/lib/repart.d").glob("*.conf"))]
    found = {match[1] for text in texts if (match := re.search(r"^Encrypt=(\S+)", text, re.MULTILINE))}
    if len(found) > 1:
        raise PackError(f"the root encrypts its data partitions in several ways: {sorted(found)}")
    return f"luks-{found.pop()}" if found else "none"


def write(output: Path, parts: Parts, root: Path, keys: Path, files: list[Path]) -> None:
    """Writes the manifest over the files that are handed out."""
    facts = {
        "name": "postern",
        "version": parts.version,
        "epoch": parts.epoch,
        "root_hash": parts.roothash,
        "kernel": parts.kernel_release,
        "command_line": parts.command_line,
        "data_encryption": data_encryption(root),
        "secure_boot_certificate": signing.fingerprint(keys / "db.crt"),
        "release_certificate": signing.fingerprint(keys / "release.crt"),
        "test_keys": (keys / "TEST-KEYS").exists(),
        "boot_packages": initrd.packages() | packages_of_boot_loader(),
        "parts": {name: size_and_hash(parts.folder / name) for name in ("root.squashfs", "root.verity", "vmlinuz", "initrd")},
        "ukis": {slot: size_and_hash(parts.uki(slot)) for slot in ("a", "b")},
        "files": {path.name: size_and_hash(path) for path in files},
    }
    output.write_text(json.dumps(facts, indent=2) + "\n")


def write_provenance(output: Path, parts: Parts, source: Source, files: list[Path]) -> None:
    """Writes an in-toto statement with a SLSA 1.0 predicate; SHA256SUMS.sig covers it."""
    parameters = {"version": parts.version, "epoch": parts.epoch}
    dependencies = [{"uri": "git+repository", "digest": {"gitCommit": source.commit}}]
    dependencies += [{"uri": f"deb:{name}@{version}", "digest": {}} for name, version in (initrd.packages() | packages_of_boot_loader()).items()]
    predicate = {
        "buildDefinition": {"buildType": _BUILD_TYPE, "externalParameters": parameters, "resolvedDependencies": dependencies},
        "runDetails": {"builder": {"id": source.builder}},
    }
    subjects = [{"name": path.name, "digest": {"sha256": sha256(path)}} for path in sorted(files)]
    statement = {"_type": _STATEMENT, "subject": subjects, "predicateType": _PREDICATE, "predicate": predicate}
    output.write_text(json.dumps(statement, indent=2) + "\n")


def packages_of_boot_loader() -> dict[str, str]:
    """The package that the stub and the boot loader come from."""
    return dict([initrd.package_of(Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi"))])


def size_and_hash(path: Path) -> dict[str, int | str]:
    """Size in bytes and SHA-256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def commit_of(folder: Path) -> str:
    """The commit of the checkout, with `-dirty` when files differ from it; `unknown` outside a checkout."""
    described = subprocess.run(["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty"], capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
