"""The readers that image/prune decides by."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from rootdir import dpkg, elf, kernel, licences
from rootdir.rules import RuleError, Rules


class RuleFiles(unittest.TestCase):
    """The format of image/rules/."""

    def rules(self, text: str) -> Rules:
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "rules"
        path.write_text(text)
        return Rules(path)

    def test_a_rule_without_a_reason_is_refused(self) -> None:
        with self.assertRaisesRegex(RuleError, "needs a reason"):
            self.rules("usr/bin/tool\n")

    def test_a_star_crosses_folders(self) -> None:
        self.assertIsNotNone(self.rules("usr/*.a  for compilers\n").match("usr/lib/x/y.a"))

    def test_only_rules_that_must_match_are_told_unused(self) -> None:
        rules = self.rules("# comment\na  one\nb  two\n?c  three\n")
        rules.match("a")
        self.assertEqual(rules.unused(), ["b"])


class Links(unittest.TestCase):
    """Links are followed as the root itself would."""

    def setUp(self) -> None:
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.root / "usr/lib").mkdir(parents=True)
        (self.root / "usr/lib/real").write_text("")
        (self.root / "lib").symlink_to("usr/lib")

    def test_an_absolute_link_stays_in_the_root(self) -> None:
        (self.root / "usr/link").symlink_to("/lib/real")
        self.assertEqual(elf.inside(self.root, self.root / "usr/link"), self.root / "usr/lib/real")

    def test_parents_do_not_lead_out(self) -> None:
        (self.root / "usr/link").symlink_to("../../../../../lib/real")
        self.assertEqual(elf.inside(self.root, self.root / "usr/link"), self.root / "usr/lib/real")

    def test_a_ring_leads_nowhere(self) -> None:
        (self.root / "a").symlink_to("b")
        (self.root / "b").symlink_to("a")
        self.assertIsNone(elf.inside(self.root, self.root / "a"))


class Modules(unittest.TestCase):
    """What a kernel module brings with it."""

    def test_what_the_needed_ones_need_stays_too(self) -> None:
        needs = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}
        self.assertEqual(kernel.closure({"a"}, needs), {"a", "b", "c"})


class Packages(unittest.TestCase):
    """The dpkg database."""

    def test_paths_are_told_as_merged_usr_has_them(self) -> None:
        self.assertEqual([dpkg.merged(path) for path in ("/bin/x", "/lib64/y", "/etc/lib/z")], ["usr/bin/x", "usr/lib64/y", "etc/lib/z"])

    def test_licences_get_their_spdx_names(self) -> None:
        stated = ["GPL-2+", "LGPL-2.1", "Expat", "BSD-3-clause", "permissive-fsf"]
        self.assertEqual([licences.spdx(name) for name in stated], ["GPL-2.0-or-later", "LGPL-2.1-only", "MIT", "BSD-3-Clause", "permissive-fsf"])


if __name__ == "__main__":
    unittest.main()
