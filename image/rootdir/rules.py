"""Reads the rule files of image/rules/: one pattern a line, two spaces, and why; `#` starts a comment.

Owns the format only; what a rule means is said by the command that reads the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path


class RuleError(Exception):
    """A rule file that cannot be read."""


@dataclass(frozen=True)
class Rule:
    """One line: `pattern` is a shell pattern whose `*` also crosses `/`; `optional` if the line starts with `?`."""

    pattern: str
    reason: str
    optional: bool


class Rules:
    """One file's rules, remembering which of them matched anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules = parse(path)
        self._compiled = [(rule, re.compile(translate(rule.pattern))) for rule in self.rules]
        self._used: set[str] = set()

    def match(self, name: str) -> Rule | None:
        """Returns the first rule whose pattern matches `name`."""
        for rule, compiled in self._compiled:
            if compiled.match(name):
                self._used.add(rule.pattern)
                return rule
        return None

    def unused(self) -> list[str]:
        """Returns the patterns that must match something and never did."""
        return [rule.pattern for rule in self.rules if not rule.optional and rule.pattern not in self._used]


def parse(path: Path) -> list[Rule]:
    """Reads a rule file; every rule has to say why it is there."""
    rules = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, separator, reason = line.partition("  ")
        if not separator or not reason.strip():
            raise RuleError(f"{path}:{number}: `{pattern}` needs a reason: two spaces after the pattern, then why")
        optional = pattern.startswith("?")
        rules.append(Rule(pattern.removeprefix("?"), reason.strip(), optional))
    return rules
