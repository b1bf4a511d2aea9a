"""The whole suite, as `make test` runs it: the tests, the coverage of three layers, and a plain line at the end.

What is given on the command line goes to pytest, in one run. Without anything, tests which drive processes of their own
run beside the others: two cores are busy with all, and idle half of the time with one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = Path(os.environ.get("DUPLEXIO_ARTEFACTS", ROOT / "artefacts"))
MEASURED = "src/duplexio/protocol/*,src/duplexio/engine/*,src/duplexio/hub/*"
#: Percent, branches included.
REQUIRED = 95

#: Clients of other makers and in other languages, a browser, the programs of the docs; the client; its command.
BESIDE = {
    "-beside": ("tests/behaviours", "tests/interop", "tests/differential", "tests/docs", "tests/browser"),
    "-client": ("tests/client",),
    "-cli": ("tests/cli",),
}


def main() -> int:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    for old in (*ARTEFACTS.glob("junit*.xml"), *ROOT.glob(".coverage*")):
        old.unlink()
    given = sys.argv[1:]
    elsewhere = [folder for folders in BESIDE.values() for folder in folders]
    beside = {name: list(folders) for name, folders in BESIDE.items()}
    runs = {"": given} if given else {**beside, "": [f"--ignore={folder}" for folder in elsewhere]}
    reports = [ARTEFACTS / f"junit{name}.xml" for name in runs]
    tests = _run(dict(zip(reports, runs.values(), strict=True)))
    _python("-m", "coverage", "combine", "--quiet")
    wanted = (f"--include={MEASURED}", f"--fail-under={REQUIRED}", "--skip-covered")
    coverage = _python("-m", "coverage", "report", *wanted)
    passed, failed, skipped = map(sum, zip(*map(_counts, reports), strict=True))
    if coverage:
        print(f"coverage of protocol, engine and hub is below {REQUIRED}%")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if tests or coverage or failed or skipped or not passed else 0


def _run(runs: dict[Path, list[str]]) -> int:
    """All at once; the last one's output is seen as it comes, that of the others behind it."""
    *beside, last = [
        [sys.executable, "-m", "coverage", "run", "-m", "pytest", f"--junitxml={report}", *arguments]
        for report, arguments in runs.items()
    ]
    with contextlib.ExitStack() as stack:
        # Files, since nobody reads what they write until they have ended.
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in beside]
        processes = [
            subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            for command, output in zip(beside, outputs, strict=True)
        ]
        outcome = subprocess.run(last, cwd=ROOT, check=False).returncode
        for process, output in zip(processes, outputs, strict=True):
            outcome = process.wait() or outcome
            output.seek(0)
            print(output.read(), end="", flush=True)
    return outcome


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
