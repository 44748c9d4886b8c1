"""Writes down what was built (manifest.json) and from what (provenance.json); nothing in it differs from build to build.

Called by `image/pack`.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import signing
from .parts import Parts
from .tools import Measured, PackError, measure

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:postern:image-pack:1"


@dataclass(frozen=True)
class Source:
    """What the image was built from, and who says so.

    `boot_packages` are the build host's share, `materials` is what `image/materials` found in the unpruned root.
    """

    root: Path
    commit: str
    builder: str
    boot_packages: dict[str, str]
    materials: dict[str, Any]


def data_encryption(root: Path) -> str:
    """How the data partitions of this root are made, read from its systemd-repart definitions."""
    texts = [path.read_text() for path in sorted((root / "usr/lib/repart.d").glob("*.conf"))]
    found = {match[1] for text in texts if (match := re.search(r"^Encrypt=(\S+)", text, re.MULTILINE))}
    if len(found) > 1:
        raise PackError(f"the root encrypts its data partitions in several ways: {sorted(found)}")
    return f"luks-{found.pop()}" if found else "none"


def write(output: Path, parts: Parts, source: Source, keys: Path, files: list[Measured]) -> None:
    """Writes the manifest over the files that are handed out."""
    facts = {
        "name": "postern",
        "version": parts.version,
        "epoch": parts.epoch,
        "root_hash": parts.roothash,
        "kernel": parts.kernel_release,
        "command_line": parts.command_line,
        "data_encryption": data_encryption(source.root),
        "secure_boot_certificate": signing.fingerprint(keys / "db.crt"),
        "release_certificate": signing.fingerprint(keys / "release.crt"),
        "test_keys": (keys / "TEST-KEYS").exists(),
        "boot_packages": source.boot_packages,
        "parts": {name: measure(parts.folder / name).facts() for name in ("root.squashfs", "root.verity", "vmlinuz", "initrd")},
        "ukis": {slot: measure(parts.uki(slot)).facts() for slot in ("a", "b")},
        "files": {file.path.name: file.facts() for file in files},
    }
    output.write_text(json.dumps(facts, indent=2) + "\n")


def write_provenance(output: Path, parts: Parts, source: Source, files: list[Measured]) -> None:
    """Writes an in-toto statement with a SLSA 1.0 predicate; SHA256SUMS.sig covers it."""
    parameters = {"version": parts.version, "epoch": parts.epoch}
    dependencies: list[dict[str, Any]] = [{"uri": "git+repository", "digest": {"gitCommit": source.commit}}]
    dependencies += [{"uri": f"deb:{name}@{version}", "digest": {}} for name, version in source.boot_packages.items()]
    internal = source.materials.get("internalParameters", {})
    dependencies += source.materials.get("resolvedDependencies", [])
    predicate = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": parameters,
            "internalParameters": internal,
            "resolvedDependencies": dependencies,
        },
        "runDetails": {"builder": {"id": source.builder}},
    }
    subjects = [{"name": file.path.name, "digest": {"sha256": file.sha256}} for file in files]
    statement = {"_type": _STATEMENT, "subject": subjects, "predicateType": _PREDICATE, "predicate": predicate}
    output.write_text(json.dumps(statement, indent=2) + "\n")


def commit_of(folder: Path) -> str:
    """The commit of the checkout, with `-dirty` when files differ from it; `unknown` outside a checkout."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
