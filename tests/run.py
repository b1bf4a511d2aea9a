"""The whole suite, as `make test` runs it: the tests, the coverage of three layers, and a plain line at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = Path(os.environ.get("DUPLEXIO_ARTEFACTS", ROOT / "artefacts"))
MEASURED = "src/duplexio/protocol/*,src/duplexio/engine/*,src/duplexio/hub/*"
#: Percent, branches included.
REQUIRED = 95


def main() -> int:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    report = ARTEFACTS / "junit.xml"
    report.unlink(missing_ok=True)
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    tests = _python("-m", "coverage", "run", "-m", "pytest", f"--junitxml={report}", *sys.argv[1:])
    _python("-m", "coverage", "combine", "--quiet")
    wanted = (f"--include={MEASURED}", f"--fail-under={REQUIRED}", "--skip-covered")
    coverage = _python("-m", "coverage", "report", *wanted)
    passed, failed, skipped = _counts(report)
    if coverage:
        print(f"coverage of protocol, engine and hub is below {REQUIRED}%")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if tests or coverage or failed or skipped or not passed else 0


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode


def _counts(report: Path) -> tuple[int, int, int]:
    if not report.is_file():
        return 0, 1, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))

    def total(name: str) -> int:
        return sum(int(suite.get(name, "0")) for suite in suites)

    failed, skipped = total("failures") + total("errors"), total("skipped")
    return total("tests") - failed - skipped, failed, skipped


if __name__ == "__main__":
    sys.exit(main())
