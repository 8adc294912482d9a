#!/usr/bin/env python3
"""Sums up what ctest wrote as JUnit XML: the output of failures, why tests were skipped, and the counts."""

import collections
import re
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(case):
    """What the test said: GTEST_SKIP's message, what follows "skipped: ", or its last line."""
    output = (case.findtext("system-out") or "").strip()
    match = re.search(r"Skipped\n(.+)", output) or re.search(r"^skipped: (.+)", output, re.MULTILINE)
    return match.group(1).strip() if match else (output.splitlines() or ["no reason given"])[-1]


def main():
    counts = collections.Counter()
    reasons = collections.defaultdict(list)
    for case in ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
        if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            counts["skipped"] += 1
            reasons[skip_reason(case)].append(case.get("name"))
        elif case.get("status") == "run":
            counts["passed"] += 1
        else:
            counts["failed"] += 1
            print(f"FAILED {case.get('name')}\n{(case.findtext('system-out') or '').strip()}\n")
    for reason, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"skipped: {', '.join(names[:3])}{more}: {reason}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
