"""Checksums and signatures by the release key over what is handed out. Called by `ova` and `image/pack`; `image/check` is the other side."""

import subprocess
from pathlib import Path

from .tools import Measured, existing, run


def signature(path: Path, keys: Path) -> bytes:
    """The RSA (PKCS#1) SHA-256 signature of a file: the same key and file give the same bytes."""
    key = existing(keys / "release.key", "the folder of keys must hold it")
    return subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key), str(path)], capture_output=True, check=True).stdout


def sign_checksums(folder: Path, files: list[Measured], keys: Path) -> None:
    """Writes SHA256SUMS over the files, SHA256SUMS.sig and the release certificate."""
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{file.sha256}  {file.path.name}\n" for file in files))
    (folder / "SHA256SUMS.sig").write_bytes(signature(sums, keys))
    (folder / "release.crt").write_bytes((keys / "release.crt").read_bytes())


def fingerprint(certificate: Path) -> str:
    """The SHA-256 fingerprint of a certificate."""
    return run("openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256").strip().split("=", 1)[1]
