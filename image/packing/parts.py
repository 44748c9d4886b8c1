"""The folder of parts between packing and disks: written by `image/pack`, read by `image/uki`, `image/disk`, `image/test-variant`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .disk import Content, Slot
from .tools import PackError, existing
from .uki import Kernel


@dataclass(frozen=True)
class Parts:
    """One build's facts; the files lie beside them in `folder`."""

    folder: Path
    version: str
    epoch: int
    roothash: str
    kernel_release: str
    command_line: str

    @property
    def data(self) -> Path:
        """The squashfs image."""
        return self.folder / "root.squashfs"

    @property
    def hash_tree(self) -> Path:
        """The verity hash tree over it."""
        return self.folder / "root.verity"

    @property
    def loader(self) -> Path:
        """systemd-boot, signed."""
        return self.folder / "systemd-bootx64.efi"

    @property
    def identity(self) -> str:
        """What makes this build differ from every other."""
        return f"{self.version} {self.roothash}"

    def uki(self, slot: str) -> Path:
        """The signed UKI of a slot."""
        return self.folder / f"postern-{slot}_{self.version}.efi"

    def kernel(self) -> Kernel:
        """What all UKIs of this build share."""
        image, initrd = ((self.folder / name).read_bytes() for name in ("vmlinuz", "initrd"))
        return Kernel(image, self.kernel_release, initrd, self.command_line, self.roothash)

    def slot(self, uki: Path, entry: str) -> Slot:
        """This root in a slot, started by `uki` under the name `entry`."""
        return Slot(uki, entry, self.data, self.hash_tree)

    def content(self, slots: dict[str, Slot], loader_config: Path) -> Content:
        """A disk with these slots and the packed boot loader."""
        return Content(slots, self.loader, loader_config, self.epoch, self.identity)

    def save(self) -> None:
        """Writes `parts.json`."""
        facts = {name: value for name, value in asdict(self).items() if name != "folder"}
        (self.folder / "parts.json").write_text(json.dumps(facts, indent=2) + "\n")


def load(folder: Path) -> Parts:
    """Reads what `image/pack` left."""
    facts = json.loads(existing(folder / "parts.json", "run image/pack first, and name its DIR/parts").read_text())
    try:
        return Parts(folder=folder, **facts)
    except TypeError as wrong:
        raise PackError(f"{folder}/parts.json was written by another version of image/pack: {wrong}") from wrong
