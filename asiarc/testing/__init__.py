"""Conformance suites: is a researcher, a task or a search policy of one's own what the loop takes it for?

    def test_mine():
        check_researcher(lambda: MyResearcher())

Each suite asks its subject by made contexts, rows or boards, trains nothing and takes seconds. What breaks a rule is a
`BrokenRuleError`, an `AssertionError` that names the rule, what was found and what is due.
"""

from asiarc.core.errors import BrokenRuleError
from asiarc.testing.policies import check_policy
from asiarc.testing.researchers import check_researcher, contexts
from asiarc.testing.tasks import check_task

__all__ = ["BrokenRuleError", "check_policy", "check_researcher", "check_task", "contexts"]
