"""How exposed each service is by systemd's own measure, and whether every protection that is left out has its reason written down.

Called by `tests/units/check`. The limits are in `thresholds.toml`.
"""

import re
import subprocess
import tomllib
from pathlib import Path

from unit_checks.tree import Tree, loadable

# What a service sets, or names in a comment under "Not set, and why".
PROTECTIONS = (
    "AmbientCapabilities", "AppArmorProfile", "CapabilityBoundingSet", "DevicePolicy", "IPAddressDeny", "KeyringMode", "LimitCORE",
    "LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices", "PrivateIPC", "PrivateMounts", "PrivateNetwork",
    "PrivateTmp", "PrivateUsers", "ProcSubset", "ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname",
    "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "RemoveIPC",
    "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures",
    "SystemCallFilter", "UMask", "User",
)


def check(tree: Tree, limits_file: Path) -> list[str]:
    """Returns what is wrong, a line for each."""
    limits: dict[str, float] = tomllib.loads(limits_file.read_text())["exposure"]
    services = tree.of_kind(".service")
    faults = [f"{limits_file.name} names {unit}, which is no unit of ours" for unit in limits.keys() - set(services)]
    for unit in services:
        faults += missing_reasons(unit, tree.text(unit))
        if unit not in limits:
            faults.append(f"{unit} has no limit in {limits_file.name}")
            continue
        found = exposure(tree, unit)
        print(f"  {unit}: {found} (limit {limits[unit]})")
        if found > limits[unit]:
            faults.append(f"{unit}: exposure {found} is above {limits[unit]}; see systemd-analyze security --offline=yes")
    return faults


def exposure(tree: Tree, unit: str) -> float:
    command = ["systemd-analyze", "security", "--offline=yes", f"--root={tree.root}", "--no-pager", loadable(unit)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    if level is None:
        raise SystemExit(f"systemd-analyze security says nothing about {unit}:\n{said}")
    return float(level[1])


def missing_reasons(unit: str, text: str) -> list[str]:
    settings = {line.partition("=")[0] for line in text.splitlines()}
    reasons = text.partition("# Not set, and why:")[2]
    unexplained = [name for name in PROTECTIONS if name not in settings and not re.search(rf"\b{name}=", reasons)]
    return [f"{unit} neither sets {name}= nor says why not" for name in unexplained]
