"""Whether the AppArmor profiles compile, enforce, and belong to the units. Called by `tests/units/check`."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from unit_checks.tree import ROLES, Tree

# Debian's description of what its kernels can mediate: this machine's own kernel may have no AppArmor.
FEATURES = Path("/usr/share/apparmor-features/features")


def check(tree: Tree) -> list[str]:
    """Returns what is wrong, a line for each."""
    profiles = sorted(path for role in ROLES for path in (role / "files/apparmor/postern").iterdir())
    used = {name for unit in tree.of_kind(".service") for name in tree.values(unit, "Service", "AppArmorProfile")}
    faults = [f"profile {name} is used by no unit" for name in {path.name for path in profiles} - used]
    faults += [f"profile {name} is used by a unit and does not exist" for name in used - {path.name for path in profiles}]
    with tempfile.TemporaryDirectory() as work:
        base = Path(work) / "apparmor.d"
        shutil.copytree("/etc/apparmor.d", base, symlinks=True)
        for role in ROLES:
            shutil.copytree(role / "files/apparmor", base, dirs_exist_ok=True)
        for path in profiles:
            faults += profile_faults(path, base)
    return faults


def profile_faults(path: Path, base: Path) -> list[str]:
    text = path.read_text()
    faults: list[str] = []
    if re.findall(r"^profile (\S+) flags=\(attach_disconnected\) \{$", text, re.MULTILINE) != [path.name]:
        faults.append(f"{path} must hold one profile {path.name} in enforce mode: flags=(attach_disconnected)")
    # Compiled to standard output, for the features in the file: nothing is loaded.
    command = ["apparmor_parser", "--stdout", "--skip-cache", "--base", str(base), "--policy-features", str(FEATURES), str(path)]
    said = subprocess.run(command, check=False, capture_output=True)
    complaints = [line for line in said.stderr.decode().splitlines() if not line.startswith("Cache read/write disabled")]
    if said.returncode != 0 or complaints or not said.stdout:
        faults.append(f"{path} does not compile ({said.returncode}): {' '.join(complaints)}")
    return faults
