"""The whole suite, as `make test` runs it: the tests, the coverage of three layers, and a plain line at the end.

What is given on the command line goes to pytest, in one run. Without anything, tests which drive processes of their own
run beside the others: two cores are busy with all, and idle half of the time with one.

Some tests are about time, and four parts on two cores leave some of them waiting for a second or more. What failed
there is run once more with nothing beside it, as CPython's own runner does. What fails again has failed; what passes is
named at the end, for it is a bound too tight or a race, and either is worth a look. Many at once are no accident, and
are not run again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = Path(os.environ.get("DUPLEXIO_ARTEFACTS", ROOT / "artefacts"))
MEASURED = "src/duplexio/protocol/*,src/duplexio/engine/*,src/duplexio/hub/*"
#: Percent, branches included.
REQUIRED = 95
#: Of 18,000 tests, those that may be run again alone: twice what a busy machine has been seen to catch at once.
RUN_AGAIN = 20

#: How pytest ends where tests failed and nothing else went wrong.
TESTS_FAILED = 1


@dataclass(frozen=True)
class Part:
    """Tests in one process."""

    name: str
    arguments: tuple[str, ...]
    #: Whether it counts for the coverage. The processes it starts do not: measured, they take twice as long to start.
    measured: bool = False

    def report(self, again: bool = False) -> Path:
        return ARTEFACTS / f"junit{self.name}{'-again' if again else ''}.xml"

    @property
    def cache(self) -> Path:
        """Where pytest writes down what failed: each part in a place of its own, since they run at once."""
        return ARTEFACTS / f"cache{self.name}"

    def command(self, again: bool = False) -> list[str]:
        command = [sys.executable, *(("-m", "coverage", "run") if self.measured else ()), "-m", "pytest"]
        command += [f"--junitxml={self.report(again)}", "-o", f"cache_dir={self.cache}", *self.arguments]
        return [*command, "--last-failed", "--last-failed-no-failures=none"] if again else command

    def failed(self) -> list[str]:
        """The tests that failed in the run before."""
        written = self.cache / "v" / "cache" / "lastfailed"
        return sorted(json.loads(written.read_text())) if written.is_file() else []


#: JavaScript's clients, a browser, the programs of the docs; the client; its command, several workers, and clients of
#: other makers. All that the first and the last show of the three layers, the client's and the rest show, too.
BESIDE = (
    Part("-beside", ("tests/behaviours", "tests/differential", "tests/docs", "tests/browser")),
    Part("-client", ("tests/client",), measured=True),
    Part("-cli", ("tests/cli", "tests/workers", "tests/interop")),
)


def main() -> int:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell does for what runs in the background: the programs that tests interrupt would hear nothing.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for old in (*ARTEFACTS.glob("junit*.xml"), *ROOT.glob(".coverage*")):
        old.unlink()
    for old in ARTEFACTS.glob("cache*"):
        shutil.rmtree(old)
    given = sys.argv[1:]
    rest = Part("", tuple(f"--ignore={folder}" for part in BESIDE for folder in part.arguments), measured=True)
    parts = [Part("", tuple(given), measured=True)] if given else [*BESIDE, rest]
    # They start some thousand processes, and some environments forbid Python to write this by itself.
    _python("-m", "compileall", "-q", "-x", "node_modules", "src", "tests")
    outcomes = _run(parts)
    passed, failed, skipped = map(sum, zip(*(_counts(part.report()) for part in parts), strict=True))
    mended = [] if given else _run_again(parts, outcomes, failed)
    passed, failed = passed + len(mended), failed - len(mended)
    _python("-m", "coverage", "combine", "--quiet")
    wanted = (f"--include={MEASURED}", f"--fail-under={REQUIRED}", "--skip-covered")
    coverage = _python("-m", "coverage", "report", *wanted)
    if coverage:
        print(f"coverage of protocol, engine and hub is below {REQUIRED}%")
    for name in mended:
        print(f"passed only when it was run alone: {name}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if any(outcomes.values()) or coverage or failed or skipped or not passed else 0


def _run(parts: list[Part]) -> dict[str, int]:
    """All at once; the last one's output is seen as it comes, that of the others behind it."""
    *beside, last = parts
    with contextlib.ExitStack() as stack:
        # Files, since nobody reads what they write until they have ended.
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in beside]
        processes = [
            subprocess.Popen(part.command(), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            for part, output in zip(beside, outputs, strict=True)
        ]
        outcomes = {last.name: subprocess.run(last.command(), cwd=ROOT, check=False).returncode}
        for part, process, output in zip(beside, processes, outputs, strict=True):
            outcomes[part.name] = process.wait()
            output.seek(0)
            print(output.read(), end="", flush=True)
    return outcomes


def _run_again(parts: list[Part], outcomes: dict[str, int], failed: int) -> list[str]:
    """The tests which failed and passed when they were run alone; their part's outcome is then that of this run."""
    mended: list[str] = []
    again = [part for part in parts if outcomes[part.name] == TESTS_FAILED]
    if not 0 < failed <= RUN_AGAIN or failed != sum(len(part.failed()) for part in again):
        return mended
    for part in again:
        names = part.failed()
        outcomes[part.name] = subprocess.run(part.command(again=True), cwd=ROOT, check=False).returncode
        mended += [name for name in names if name not in part.failed()]
    return mended


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode


def _counts(report: Path) -> tuple[int, int, int]:
    if not report.is_file():
        return 0, 1, 0
    # One that fails, and whose teardown does, too, is there twice.
    outcomes: dict[tuple[str | None, str | None], set[str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        outcomes.setdefault((case.get("classname"), case.get("name")), set()).update(child.tag for child in case)
    failed = sum(not found.isdisjoint(("failure", "error")) for found in outcomes.values())
    skipped = sum("skipped" in found for found in outcomes.values())
    return len(outcomes) - failed - skipped, failed, skipped


if __name__ == "__main__":
    sys.exit(main())
