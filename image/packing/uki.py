"""Assembles unified kernel images (systemd stub, kernel, initrd, command line, version) and signs EFI programs.

Called by `image/pack`, `image/uki` and `image/test-variant`.
"""

from dataclasses import dataclass
from pathlib import Path

from . import pe
from .tools import existing, run

_BOOT_FILES = Path("/usr/lib/systemd/boot/efi")
STUB = _BOOT_FILES / "linuxx64.efi.stub"
LOADER = _BOOT_FILES / "systemd-bootx64.efi"


@dataclass(frozen=True)
class Kernel:
    """What all UKIs of one build have in common."""

    image: bytes
    release: str
    initrd: bytes
    command_line: str
    roothash: str


def assemble(kernel: Kernel, slot: str, version: str, extra_initrd: bytes = b"") -> bytes:
    """An unsigned UKI that boots this slot and only a root with this root hash.

    `.linux` comes last: the kernel unpacks itself into the memory behind it.
    """
    stub = existing(STUB, "install systemd-boot-efi").read_bytes()
    command_line = f"{kernel.command_line} postern.slot={slot} postern.roothash={kernel.roothash}"
    initrd = kernel.initrd + b"\0" * (-len(kernel.initrd) % 4) + extra_initrd
    sections = [
        (".osrel", os_release(version).encode()),
        (".cmdline", command_line.encode() + b"\0"),
        (".uname", kernel.release.encode()),
        (".initrd", initrd),
        (".linux", kernel.image),
    ]
    return pe.add_sections(stub, sections)


def os_release(version: str) -> str:
    """What systemd-boot sorts by: entries of one IMAGE_ID, the highest IMAGE_VERSION first."""
    name = {"ID": "postern", "NAME": "Postern", "PRETTY_NAME": f"Postern {version}"}
    fields = {**name, "VERSION_ID": version, "IMAGE_ID": "postern", "IMAGE_VERSION": version}
    return "".join(f'{name}="{value}"\n' for name, value in fields.items())


def command_line(source: Path) -> str:
    """The kernel command line of `image/cmdline`, on one line."""
    return " ".join(source.read_text().split())


def sign(program: bytes, signed: Path, keys: Path, epoch: int) -> None:
    """Signs an EFI program with the signature database key and checks the result against its certificate.

    osslsigncode and not sbsign: the signature carries a signing time, and only the former lets us set it. RSA with PKCS#1 padding is
    deterministic, so the same key gives the same bytes.
    """
    certificate = keys / "db.crt"
    unsigned = signed.with_suffix(".unsigned.efi")
    unsigned.write_bytes(program)
    signed.unlink(missing_ok=True)
    key: list[str | Path] = ["-certs", certificate, "-key", existing(keys / "db.key", "the folder of keys must hold it")]
    run("osslsigncode", "sign", "-h", "sha256", *key, "-time", str(epoch), "-in", unsigned, "-out", signed)
    run("sbverify", "--cert", certificate, signed)


def loader() -> bytes:
    """systemd-boot, unsigned."""
    return pe.add_sections(existing(LOADER, "install systemd-boot-efi").read_bytes(), [])
