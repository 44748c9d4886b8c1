"""Whether systemd reads every unit without a complaint and finds no ordering cycle. Called by `tests/units/check`."""

import subprocess

from unit_checks.tree import Tree, loadable

# They pull in everything that a boot starts.
TARGETS = ("multi-user.target", "boot-complete.target")


def check(tree: Tree) -> list[str]:
    """Returns what systemd complains about, if it is about us."""
    units = [loadable(unit) for unit in tree.units]
    command = ["systemd-analyze", "verify", f"--root={tree.root}", "--man=no", "--generators=no", *units, *TARGETS]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    lines = [line for line in (said.stdout + said.stderr).splitlines() if "postern" in line or "cycle" in line]
    if said.returncode != 0 and not lines:
        lines = [f"systemd-analyze verify ends with {said.returncode}: {said.stderr.strip()}"]
    return lines
