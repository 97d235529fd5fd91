"""``make release-check``: build what would be released, and look at all of it.

It lives with the tests because it is one, which takes minutes and makes files: the same in a developer's checkout and
in the workflow that publishes. Exit status 0: everything in the folder may be published.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.release import changelog, contents, versions
from tests.release.candidate import Candidate, Fault, build, run
from tests.release.checksums import NAME, checksums, sha256
from tests.release.installation import check_installed
from tests.release.interpreters import find_pythons
from tests.release.materials import check_materials

ROOT = Path(__file__).resolve().parents[2]
CHECKS: tuple[tuple[str, Callable[[Candidate], str]], ...] = (
    ("files", contents.check_files),
    ("bundle", contents.check_bundle),
    ("sizes", contents.check_sizes),
    ("metadata", versions.check_metadata),
    ("version", versions.check_versions),
    ("bundle's range", versions.check_bundle_range),
    ("changelog", changelog.check_changelog),
    ("documents", versions.check_documents),
)


class Report:
    """Prints one line for each check, and remembers whether one failed."""

    failed = False

    def check(self, name: str, work: Callable[[], str]) -> None:
        """Do the work; it returns what to say, or raises a `Fault`."""
        started = time.monotonic()
        try:
            self.line("ok", name, f"{work()}  ({time.monotonic() - started:.0f} s)")
        except Fault as fault:
            self.failed = True
            self.line("FAILED", name, str(fault))

    def line(self, mark: str, name: str, text: str) -> None:
        """Print one line."""
        print(f"{mark:<8} {name:<15} {text}", flush=True)


def main(out: Path) -> int:
    """Check everything; write `out` if all is well."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="ragturbo-release-") as temporary:
        folder = Path(temporary).resolve()
        try:
            candidate = build(ROOT, folder / "first")
        except Fault as fault:
            report.line("FAILED", "build", str(fault))
            return 1
        _say_what_was_built(report, candidate)
        report.check("same again", lambda: _same_again(candidate, build(ROOT, folder / "second")))
        for name, check in CHECKS:
            report.check(name, lambda check=check: check(candidate))  # type: ignore[misc]
        _install(report, candidate, folder)
        if not report.failed:
            _publish(report, candidate, folder, out)
    return int(report.failed)


def _say_what_was_built(report: Report, candidate: Candidate) -> None:
    commit = run(["git", "rev-parse", "--short", "HEAD"], cwd=candidate.clone).strip()
    report.line("ok", "build", f"{candidate.wheel.name} and {candidate.sdist.name} from commit {commit}")
    if run(["git", "status", "--porcelain"], cwd=ROOT):
        report.line("note", "build", "there are uncommitted changes here; they are not part of it")


def _same_again(first: Candidate, second: Candidate) -> str:
    pairs = ((first.wheel, second.wheel), (first.sdist, second.sdist))
    if other := [one.name for one, two in pairs if sha256(one) != sha256(two)]:
        raise Fault(f"a second build from a second clone has other bytes: {other}")
    return "a second build from a second clone has the same bytes"


def _install(report: Report, candidate: Candidate, folder: Path) -> None:
    pythons = find_pythons()
    for version, python in pythons.items():
        if python is None:
            report.line("left out", f"Python {version}", "not on this machine")
        else:
            report.check(f"Python {version}", lambda python=python: check_installed(candidate, python))  # type: ignore[misc]
    found = next((python for python in pythons.values() if python), Path(sys.executable))
    report.check("materials", lambda: check_materials(candidate, found, folder))


def _publish(report: Report, candidate: Candidate, folder: Path, out: Path) -> None:
    """Put what was checked where it can be taken from; nothing older stays there."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in (candidate.wheel, candidate.sdist, *folder.glob("*.cdx.json")):
        shutil.copy(path, out)
    (out / NAME).write_text(checksums(out.iterdir()), encoding="utf-8")
    (out / "RELEASE_NOTES.md").write_text(changelog.notes(candidate), encoding="utf-8")
    report.line("written", str(out), ", ".join(sorted(path.name for path in out.iterdir())))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make release-check", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="the folder to write (default: dist)")
    sys.exit(main(parser.parse_args().out))
