"""Reads oscap's results, compares them with the signed-off exceptions and the floors, and says what is wrong.

Pure: takes texts, returns findings. `scan` (the command) reads the files and prints. Works on the results file alone, whether the
scan ran in a chroot or in the virtual machine.
"""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass

XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
RULE_PREFIX = "xccdf_org.ssgproject.content_rule_"
WHERES = ("chroot", "vm")

# What a rule may be without anybody having to say why. "notchecked" rules have no automatic check at all.
ACCEPTABLE = frozenset({"pass", "fixed", "informational", "notapplicable", "notchecked", "notselected"})


class ScanError(Exception):
    """A file that this tool cannot use; the text says which and why."""


@dataclass(frozen=True)
class Excuse:
    """Why some rules may fail, and what protects instead. `either`: they may pass as well, it depends on who scans."""

    rules: frozenset[str]
    where: frozenset[str]
    profiles: frozenset[str]
    reason: str
    control: str
    either: bool

    def covers(self, rule: str, where: str, profile: str) -> bool:
        """Whether this exception is about the rule in this scan; no profile named means every profile."""
        return rule in self.rules and where in self.where and (not self.profiles or profile in self.profiles)


@dataclass(frozen=True)
class Score:
    """How many rules came out how. `percent` counts exceptions as fails."""

    passed: int
    failed: int
    undecided: int

    @property
    def judged(self) -> int:
        return self.passed + self.failed

    @property
    def percent(self) -> float:
        return 100.0 * self.passed / self.judged if self.judged else 0.0

    @property
    def strict_percent(self) -> float:
        """As `percent`, with rules whose check broke off counted as fails too."""
        total = self.judged + self.undecided
        return 100.0 * self.passed / total if total else 0.0


@dataclass(frozen=True)
class Floor:
    """What a scan may not fall below: the score, and how many rules were judged at all.

    The second is there because a rule that suddenly does "not apply" (a package that left the database) must not go unnoticed.
    """

    percent: float
    judged: int


@dataclass(frozen=True)
class Verdict:
    """What one scan showed."""

    score: Score
    floor: Floor | None
    newly_failing: tuple[str, ...]
    unnecessary: tuple[str, ...]
    excepted: tuple[str, ...]

    @property
    def below_floor(self) -> bool:
        return self.floor is not None and (self.score.percent < self.floor.percent or self.score.judged < self.floor.judged)

    @property
    def good(self) -> bool:
        return not (self.newly_failing or self.unnecessary or self.below_floor)


def parse_results(text: bytes) -> dict[str, str]:
    """Returns each rule's result from an XCCDF or ARF results file; rules that the profile does not select are left out."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ScanError(f"the results are not XML ({error}): did the scan break off?") from error
    results: dict[str, str] = {}
    for node in root.iter(f"{XCCDF}rule-result"):
        result = node.findtext(f"{XCCDF}result") or "unknown"
        if result != "notselected":
            results[node.get("idref", "").removeprefix(RULE_PREFIX)] = result
    if not results:
        raise ScanError("the results hold no rule: wrong profile, or the scan broke off")
    return results


def parse_exceptions(text: str) -> tuple[Excuse, ...]:
    """Reads exceptions.toml. Every block needs rules, reason and control."""
    parsed: list[Excuse] = []
    for number, block in enumerate(tomllib.loads(text).get("exception", []), start=1):
        unknown = set(block) - {"rules", "where", "profiles", "reason", "control", "either"}
        if unknown:
            raise ScanError(f"exception {number} has unknown keys: {', '.join(sorted(unknown))}")
        for key in ("rules", "reason", "control"):
            if not block.get(key):
                raise ScanError(f"exception {number} has no {key}")
        where = frozenset(block.get("where", WHERES))
        if not where <= set(WHERES):
            raise ScanError(f"exception {number}: where may hold {' and '.join(WHERES)}")
        parsed.append(
            Excuse(
                rules=frozenset(block["rules"]),
                where=where,
                profiles=frozenset(block.get("profiles", ())),
                reason=block["reason"],
                control=block["control"],
                either=bool(block.get("either", False)),
            )
        )
    check_overlaps(parsed)
    return tuple(parsed)


def check_overlaps(exceptions: Iterable[Excuse]) -> None:
    """Refuses a rule that two blocks excuse in the same kind of scan: one place for each fact."""
    seen: set[tuple[str, str, str]] = set()
    for block in exceptions:
        for rule in block.rules:
            for where in block.where:
                for profile in block.profiles or {"*"}:
                    if (rule, where, profile) in seen:
                        raise ScanError(f"two exceptions are about {rule} ({where})")
                    seen.add((rule, where, profile))


@dataclass(frozen=True)
class Floors:
    """floors.toml: a floor for each kind of scan and profile, and Lynis's index."""

    profiles: dict[tuple[str, str], Floor]
    lynis: dict[str, int]


def parse_floors(text: str) -> Floors:
    """Reads floors.toml."""
    profiles: dict[tuple[str, str], Floor] = {}
    lynis: dict[str, int] = {}
    for where, table in tomllib.loads(text).items():
        if where not in WHERES:
            raise ScanError(f"floors.toml has a table {where}; it may have {' and '.join(WHERES)}")
        for name, value in table.items():
            if name == "lynis":
                lynis[where] = int(value)
            else:
                profiles[where, name] = Floor(float(value["percent"]), int(value["judged"]))
    return Floors(profiles, lynis)


def judge(
    results: dict[str, str], exceptions: Iterable[Excuse], floors: Floors, where: str, profile: str
) -> Verdict:
    """Compares one scan's results with what was signed off for it."""
    listed = tuple(exceptions)
    bad = {rule for rule, result in results.items() if result not in ACCEPTABLE}
    excused = {rule for rule in results if any(block.covers(rule, where, profile) for block in listed)}
    demanded = {rule for rule in excused if any(block.covers(rule, where, profile) and not block.either for block in listed)}
    values = list(results.values())
    score = Score(
        passed=values.count("pass") + values.count("fixed"),
        failed=values.count("fail"),
        undecided=values.count("error") + values.count("unknown"),
    )
    return Verdict(
        score=score,
        floor=floors.profiles.get((where, profile)),
        newly_failing=tuple(sorted(bad - excused)),
        unnecessary=tuple(sorted(demanded - bad)),
        excepted=tuple(sorted(bad & excused)),
    )


def strangers(exceptions: Iterable[Excuse], scans: Iterable[dict[str, str]]) -> tuple[str, ...]:
    """Names of excused rules that no scan knows: misspelt, or gone from the content."""
    known = {rule for results in scans for rule in results}
    return tuple(sorted({rule for block in exceptions for rule in block.rules} - known))


def parse_lynis(report: str) -> int:
    """Returns the hardening index from Lynis's report file."""
    for line in report.splitlines():
        if line.startswith("hardening_index="):
            return int(line.partition("=")[2])
    raise ScanError("the Lynis report has no hardening_index: did it break off?")
