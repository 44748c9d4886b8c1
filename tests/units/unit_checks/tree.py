"""Where the units are: laid over this machine's own systemd units, or in a root that image/build-root made. Called by `tests/units/check`."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
ROLES = tuple(REPOSITORY / "ansible/roles" / role for role in ("gateway", "firstboot"))
UNIT_DIR = Path("usr/lib/systemd/system")
# Where the roles put their folders of files.
INSTALLED = {
    "apparmor": "etc/apparmor.d",
    "systemd": UNIT_DIR,
    "sysusers": "usr/lib/sysusers.d",
    "tmpfiles": "usr/lib/tmpfiles.d",
}
KINDS = (".service", ".socket", ".path")


@dataclass(frozen=True)
class Tree:
    """A root directory for systemd's `--root=`, and the units in it that are ours."""

    root: Path
    units: tuple[str, ...]

    def text(self, unit: str) -> str:
        return (self.root / UNIT_DIR / unit).read_text()

    def values(self, unit: str, section: str, key: str) -> list[str]:
        """All values of a key, in order; systemd allows a key more than once."""
        found: list[str] = []
        current = ""
        for line in self.text(unit).splitlines():
            name, _, value = line.partition("=")
            if line.startswith("["):
                current = line.strip("[] ")
            elif current == section and name == key:
                found.append(value)
        return found

    def of_kind(self, kind: str) -> list[str]:
        return [unit for unit in self.units if unit.endswith(kind)]


def from_roles(into: Path) -> Tree:
    """Lays the roles' units over a copy of this machine's, with an empty file for every program that is started, and enables them."""
    units = into / UNIT_DIR
    shutil.copytree("/usr/lib/systemd/system", units, symlinks=True)
    names = ours()
    for role in ROLES:
        shutil.copytree(role / "files/systemd", units, dirs_exist_ok=True)
    for unit in units.rglob("*"):
        if unit.is_file() and unit.suffix in (".service", ".conf"):
            for program in started(unit):
                placeholder(into / program.lstrip("/"))
    subprocess.run(["systemctl", f"--root={into}", "--quiet", "enable", *enabled(names)], check=True)
    return Tree(into, names)


def from_root(root: Path) -> Tree:
    """Takes a built root, in which every file of the roles must be as it is here."""
    for role in ROLES:
        for folder, target in INSTALLED.items():
            for wanted in (path for path in (role / "files" / folder).rglob("*") if path.is_file()):
                installed = root / target / wanted.relative_to(role / "files" / folder)
                if not installed.is_file() or installed.read_bytes() != wanted.read_bytes():
                    raise SystemExit(f"{installed} is not what {wanted.relative_to(REPOSITORY)} says: build the root again")
    return Tree(root, ours())


def ours() -> tuple[str, ...]:
    """The units that the roles install."""
    return tuple(sorted(path.name for role in ROLES for path in (role / "files/systemd").iterdir() if path.suffix in KINDS and path.is_file()))


def loadable(unit: str) -> str:
    """An instance of a template, any other unit as it is."""
    return unit.replace("@.", "@tty1.")


def enabled(names: tuple[str, ...]) -> list[str]:
    """What the roles' tasks enable: every unit of ours that is named in them."""
    tasks = "\n".join(path.read_text() for role in ROLES for path in (role / "tasks").glob("*.yml"))
    return [loadable(name) for name in names if loadable(name) in tasks.partition("Enable the units")[2]]


def started(unit: Path) -> list[str]:
    """The programs that a unit starts."""
    lines = (line.partition("=") for line in unit.read_text().splitlines() if line.startswith("Exec"))
    commands = [value.lstrip("-+!:@") for _, _, value in lines]
    return [command.split()[0] for command in commands if command.startswith("/")]


def placeholder(program: Path) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.touch(mode=0o755)
