"""Makes the OVA: descriptor, manifest, certificate and disk in one USTAR archive, in the order that importers stream it. Called by `image/pack`.

Manifest and certificate file follow DSP0243, section 5, with SHA256 where OVF 1.1 still said SHA1, as VMware and VirtualBox do:
`SHA256(name)= hex` lines; the signature over the manifest, then the signer's certificate.
"""

import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape, quoteattr

from .signing import signature
from .tools import sha256


@dataclass(frozen=True)
class Disk:
    """The disk of the machine: its VMDK file, how large the machine sees it and how much of it is filled."""

    vmdk: Path
    capacity_bytes: int
    populated_bytes: int


@dataclass(frozen=True)
class Description:
    """What the descriptor says: the templates in `image/ovf`, the version, the time stamp of every member."""

    sources: Path
    version: str
    epoch: int


def build(output: Path, disk: Disk, description: Description, keys: Path) -> None:
    """Writes `output` and, beside it, the descriptor, manifest and certificate that it holds."""
    descriptor, manifest, certificate = (output.with_suffix(ending) for ending in (".ovf", ".mf", ".cert"))
    descriptor.write_text(_descriptor(disk, description))
    manifest.write_text("".join(f"SHA256({path.name})= {sha256(path)}\n" for path in (descriptor, disk.vmdk)))
    signed = signature(manifest, keys).hex()
    certificate.write_text(f"SHA256({manifest.name})= {signed}\n" + (keys / "release.crt").read_text())
    with tarfile.open(output, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in (descriptor, manifest, certificate, disk.vmdk):
            member = tarfile.TarInfo(path.name)
            member.size, member.mtime, member.mode = path.stat().st_size, description.epoch, 0o644
            with path.open("rb") as stream:
                archive.addfile(member, stream)


def _descriptor(disk: Disk, description: Description) -> str:
    listed = tomllib.loads((description.sources / "properties.toml").read_text())["property"]
    facts = {
        "disk": disk.vmdk.name,
        "disk_bytes": disk.vmdk.stat().st_size,
        "capacity_gibibytes": disk.capacity_bytes >> 30,
        "populated_bytes": disk.populated_bytes,
        "version": escape(description.version),
        "properties": "\n".join(_property(**fields) for fields in listed),
    }
    return Template((description.sources / "template.xml").read_text()).substitute(facts)


def _property(key: str, label: str, description: str, max_length: int, password: bool = False) -> str:
    attributes = f'ovf:key={quoteattr(key)} ovf:type="string" ovf:qualifiers="MaxLen({max_length})" ovf:userConfigurable="true" ovf:value=""'
    if password:
        attributes += ' ovf:password="true"'
    texts = f"<Label>{escape(label)}</Label>\n        <Description>{escape(description)}</Description>"
    return f"      <Property {attributes}>\n        {texts}\n      </Property>"
