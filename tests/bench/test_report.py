"""How promises are judged: `python3 -m unittest discover tests/bench`."""

import unittest

import report


def rows(scenario, figure, **values):
    """One row per subject and round."""
    return [
        {"scenario": scenario, "round": index, "subject": name, figure: value}
        for name, each in values.items()
        for index, value in enumerate(each)
    ]


class Judging(unittest.TestCase):
    """One test per way of comparing."""

    def test_a_ratio_is_taken_within_the_round_and_then_the_median(self):
        goal = {"scenario": "tiny", "figure": "cpu_us", "versus": "haproxy", "compare": "ratio", "goal": 0.83}
        found = rows("tiny", "cpu_us", tidegate=[8, 80, 9], haproxy=[10, 100, 10])
        values, is_met, text = report.judge(goal, found)
        self.assertEqual((values, is_met, text), ([0.8, 0.8, 0.9], True, "0.80"))
        found = rows("tiny", "cpu_us", tidegate=[8, 9, 9], haproxy=[10, 10, 10])
        self.assertFalse(report.judge(goal, found)[1])

    def test_the_better_peer_of_each_round_is_the_measure(self):
        goal = {"scenario": "rate", "figure": "p99_us", "versus": "best", "compare": "ratio", "goal": 1.1}
        found = rows("rate", "p99_us", tidegate=[200, 300], haproxy=[200, 400], nginx=[300, 200])
        self.assertEqual(report.judge(goal, found)[0], [1.0, 1.5])

    def test_an_addition_may_keep_either_bound(self):
        goal = {"scenario": "log", "figure": "cpu_us", "subject": "tidegate-log", "versus": "tidegate"}
        goal |= {"compare": "added", "goal": 1.5, "share": 0.12}
        for with_log, is_met in ((10 + 1.4, True), (10 + 1.6, False)):
            found = rows("log", "cpu_us", **{"tidegate": [10], "tidegate-log": [with_log]})
            self.assertEqual(report.judge(goal, found)[1], is_met)
        found = rows("log", "cpu_us", **{"tidegate": [30], "tidegate-log": [33]})
        self.assertTrue(report.judge(goal, found)[1])

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        for goal in report.load_goals():
            self.assertIsNone(report.judge(goal, [])[1])


if __name__ == "__main__":
    unittest.main()
