"""Whether everyone who names a listener names the same: socket units, the gateway, the broker. Called by `tests/units/check`."""

import re
from pathlib import Path

from unit_checks.tree import REPOSITORY, Tree

GATEWAY = REPOSITORY / "appliance/gateway/src/receivers/mod.rs"
BROKER_UNITS = REPOSITORY / "appliance/system/src/broker/firewall/sources.rs"
BROKER_LISTENERS = REPOSITORY / "appliance/system/src/veto.rs"
BROKER_FILES = REPOSITORY / "appliance/system/src/broker/render/mod.rs"
OFF = "/run/postern/off"
SERVICE = "postern-gateway.service"


def check(tree: Tree) -> list[str]:
    """Returns what does not agree."""
    faults: list[str] = []
    sockets = [unit for unit in tree.of_kind(".socket") if SERVICE in tree.values(unit, "Socket", "Service")]
    names = [tree.values(unit, "Socket", "FileDescriptorName") for unit in sockets]
    found = sorted(name for one in names for name in one)
    if found != passed_names():
        faults.append(f"the sockets of {SERVICE} are named {found}, the gateway takes {passed_names()}")
    for key in ("Requires", "After"):
        faults += missing(sockets, words(tree.values(SERVICE, "Unit", key)), f"{SERVICE} lacks {key}=")
    faults += missing(sockets, words(tree.values(SERVICE, "Service", "Sockets")), f"{SERVICE} lacks Sockets=")
    return faults + broker_faults(tree, sockets)


def passed_names() -> list[str]:
    """The names that the gateway's source knows."""
    table = re.search(r"PASSED_NAMES: \[&str; \d+\] = \[([^\]]*)\]", GATEWAY.read_text())
    if table is None:
        raise SystemExit(f"{GATEWAY} has no PASSED_NAMES any more: bring {Path(__file__).name} up to date")
    return sorted(re.findall(r'"(\w+)"', table[1]))


def broker_faults(tree: Tree, sockets: list[str]) -> list[str]:
    """The broker opens the firewall for units, by a table, and turns a listener off by a file that the unit looks at."""
    table = dict(re.findall(r'\("(postern-[a-z-]+\.socket)", Listener::(\w+)\)', BROKER_UNITS.read_text()))
    source = BROKER_LISTENERS.read_text()
    ports = dict(re.findall(r"Self::(\w+) => (\d+),", source))
    names = dict(re.findall(r'Self::(\w+) => "(\w+)",', source))
    faults = [] if sorted(table) == sorted(sockets) else [f"the broker opens ports for {sorted(table)}, the sockets are {sorted(sockets)}"]
    for unit in sorted(set(sockets) & set(table)):
        listener = table[unit]
        listens = tree.values(unit, "Socket", "ListenDatagram") + tree.values(unit, "Socket", "ListenStream")
        if listens != [f"[::]:{ports[listener]}"]:
            faults.append(f"{unit} listens on {listens}, the broker's {listener} is port {ports[listener]}")
        off = tree.values(unit, "Unit", "ConditionPathExists")
        if off != [f"!{OFF}/{names[listener]}"]:
            faults.append(f"{unit} has ConditionPathExists={off}, the broker makes {OFF}/{names[listener]}")
    if f'"{OFF}"' not in BROKER_FILES.read_text():
        faults.append(f"{BROKER_FILES} makes no files in {OFF}")
    return faults


def words(values: list[str]) -> set[str]:
    return {word for value in values for word in value.split()}


def missing(wanted: list[str], found: set[str], text: str) -> list[str]:
    return [f"{text}{unit}" for unit in wanted if unit not in found]
