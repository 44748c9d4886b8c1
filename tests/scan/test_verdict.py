"""Tests of verdict.py: run with `python3 -m unittest discover tests/scan`."""

import unittest

import verdict

RESULTS = """<TestResult xmlns="http://checklists.nist.gov/xccdf/1.2">
<rule-result idref="xccdf_org.ssgproject.content_rule_a"><result>pass</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_b"><result>fail</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_c"><result>error</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_d"><result>notselected</result></rule-result>
</TestResult>""".encode()


def exceptions(text: str) -> tuple[verdict.Excuse, ...]:
    return verdict.parse_exceptions(text)


class Judging(unittest.TestCase):
    def judge(self, text: str, floor: str = "percent = 0, judged = 0") -> verdict.Verdict:
        floors = verdict.parse_floors(f"[vm]\np = {{ {floor} }}\nlynis = 85")
        return verdict.judge(verdict.parse_results(RESULTS), exceptions(text), floors, "vm", "p")

    def test_a_failing_rule_without_an_exception_is_bad(self) -> None:
        found = self.judge("")
        self.assertEqual(found.newly_failing, ("b", "c"))
        self.assertFalse(found.good)

    def test_an_excused_rule_still_counts_as_a_fail_in_the_score(self) -> None:
        found = self.judge('[[exception]]\nrules=["b","c"]\nreason="r"\ncontrol="c"')
        self.assertTrue(found.good)
        self.assertEqual(found.score.percent, 50.0)
        self.assertAlmostEqual(found.score.strict_percent, 100 / 3)

    def test_an_exception_of_another_kind_of_scan_does_not_count(self) -> None:
        found = self.judge('[[exception]]\nrules=["b","c"]\nwhere=["chroot"]\nreason="r"\ncontrol="c"')
        self.assertEqual(found.newly_failing, ("b", "c"))

    def test_an_exception_of_another_profile_does_not_count(self) -> None:
        found = self.judge('[[exception]]\nrules=["b","c"]\nprofiles=["q"]\nreason="r"\ncontrol="c"')
        self.assertEqual(found.newly_failing, ("b", "c"))

    def test_an_exception_for_a_passing_rule_is_bad(self) -> None:
        found = self.judge('[[exception]]\nrules=["a","b","c"]\nreason="r"\ncontrol="c"')
        self.assertEqual(found.unnecessary, ("a",))
        self.assertFalse(found.good)

    def test_an_exception_that_may_go_either_way_is_never_unnecessary(self) -> None:
        found = self.judge('[[exception]]\nrules=["a","b","c"]\neither=true\nreason="r"\ncontrol="c"')
        self.assertTrue(found.good)

    def test_a_score_below_its_floor_is_bad(self) -> None:
        found = self.judge('[[exception]]\nrules=["b","c"]\nreason="r"\ncontrol="c"', floor="percent = 50.1, judged = 0")
        self.assertTrue(found.below_floor)
        self.assertFalse(found.good)


    def test_fewer_judged_rules_than_the_floor_are_bad(self) -> None:
        found = self.judge('[[exception]]\nrules=["b","c"]\nreason="r"\ncontrol="c"', floor="percent = 0, judged = 3")
        self.assertTrue(found.below_floor)


class Reading(unittest.TestCase):
    def test_results_that_broke_off_are_refused(self) -> None:
        with self.assertRaisesRegex(verdict.ScanError, "not XML"):
            verdict.parse_results(RESULTS[:100])

    def test_an_exception_without_a_control_is_refused(self) -> None:
        with self.assertRaisesRegex(verdict.ScanError, "no control"):
            exceptions('[[exception]]\nrules=["a"]\nreason="r"')

    def test_a_misspelt_key_is_refused(self) -> None:
        with self.assertRaisesRegex(verdict.ScanError, "unknown keys: profile"):
            exceptions('[[exception]]\nrules=["a"]\nreason="r"\ncontrol="c"\nprofile=["x"]')

    def test_a_rule_excused_twice_is_refused(self) -> None:
        block = '[[exception]]\nrules=["a"]\nreason="r"\ncontrol="c"\n'
        with self.assertRaisesRegex(verdict.ScanError, "two exceptions"):
            exceptions(block + block)

    def test_a_rule_that_no_scan_knows_is_a_stranger(self) -> None:
        listed = exceptions('[[exception]]\nrules=["a","zzz"]\nreason="r"\ncontrol="c"')
        self.assertEqual(verdict.strangers(listed, [verdict.parse_results(RESULTS)]), ("zzz",))

    def test_the_index_is_read_from_a_lynis_report(self) -> None:
        self.assertEqual(verdict.parse_lynis("a=b\nhardening_index=86\n"), 86)


if __name__ == "__main__":
    unittest.main()
