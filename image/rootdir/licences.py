"""Reads the licences of a package from Debian's copyright file, as SPDX names where they are known by one."""

from __future__ import annotations

import re
from pathlib import Path

# Debian's short names that SPDX spells otherwise; https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
SPDX = {
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0",
    "beerware": "Beerware",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "bsla": "BSD-4-Clause-UC",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "mit": "MIT",
    "mit/x11": "MIT",
    "x11": "X11",
    "zlib": "Zlib",
    "isc": "ISC",
}
KNOWN = re.compile(r"(A?GPL|LGPL|GFDL)-(\d)(?:\.(\d))?(\+?)", re.IGNORECASE)
SPELT = re.compile(r"(Apache|BSD|CC0|CC-BY-SA|CC-BY|MPL|OFL|Unicode|PSF|OpenSSL|curl)-[\w.-]+")
STATED = re.compile(r"^License:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


def licences(copyright_file: Path) -> list[str]:
    """Returns the licences that the file states, each once, sorted; none where it is not written for machines."""
    text = copyright_file.read_text(errors="replace")
    if not text.startswith("Format"):
        return []
    return sorted({spdx(stated) for stated in STATED.findall(text)})


def spdx(stated: str) -> str:
    """Returns the SPDX name of one stated licence, or what was stated where it has none."""
    if match := KNOWN.fullmatch(stated):
        family, major, minor, later = match.groups()
        return f"{family.upper()}-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    if SPELT.fullmatch(stated) and stated.lower() not in SPDX:
        return stated
    return SPDX.get(stated.lower(), stated)


def is_spdx(name: str) -> bool:
    """Says whether `name` is an SPDX licence, so far as this module knows them."""
    return name in SPDX.values() or bool(re.fullmatch(r"(A?GPL|LGPL|GFDL)-\d\.\d-(only|or-later)", name)) or name in ("CC-BY-SA-4.0", "CC0-1.0")
