"""`python -m benchmarks`: measure and print; see --help."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import figures, gate, report
from benchmarks.applications import VARIANTS
from benchmarks.processes import NotMeasuredError, Worker

# A requests-per-second figure below this is a defect; it is reported, and not gated, because it is a time.
RPS_DEFECT_PERCENT = 70


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.profile is not None:
        return _profile(options.profile)
    if options.gate:
        return _gate()
    if options.render or options.check:
        return _render(write=options.render)
    names = options.variants or list(VARIANTS)
    results = {}
    for kind in options.figures:
        results[kind] = figures.measured(kind, names, rounds=options.rounds, seconds=options.seconds)
        if options.save:
            figures.save(results[kind])
    print(report.table(results))
    return _render(write=True) if options.save else 0


def _profile(name: str) -> int:
    try:
        with Worker(name) as worker:
            print(worker.ask("profile")["listing"])
    except NotMeasuredError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _gate() -> int:
    started = time.monotonic()
    calls = figures.calls(gate.BARS)
    # What takes seconds first: where it fails, nobody has to wait for the rest.
    early = [verdict for verdict in gate.verdicts(calls, {}, {}) if verdict.found is not None]
    print("\n".join(map(str, early)), flush=True)
    if not all(verdict.passed for verdict in early):
        return 1
    all_of = list(gate.verdicts(calls, figures.counted(gate.BARS, (1,)), figures.grown(gate.BARS)))
    print("\n".join(str(verdict) for verdict in all_of if verdict not in early))
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if all(verdict.passed for verdict in all_of) else 1


def _render(*, write: bool) -> int:
    page = report.PAGE.read_text(encoding="utf-8")
    filled = report.filled(page, figures.kept())
    if write:
        report.PAGE.write_text(filled, encoding="utf-8")
    elif filled != page:
        print(f"{report.PAGE.name} is stale: run `python -m benchmarks --render`", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--gate", action="store_true", help="hold the bars of CI; exit 1 where one is exceeded")
    what.add_argument(
        "--profile",
        metavar="NAME",
        help="list the calls a request makes beyond a bare one; NAME is an application, or `only:FEATURE+FEATURE`",
    )
    what.add_argument("--render", action="store_true", help="fill the performance page from benchmarks/data/")
    what.add_argument(
        "--check", action="store_true", help="exit 1 when the performance page is not so filled"
    )
    parser.add_argument(
        "--figures", nargs="+", choices=figures.KINDS, default=figures.KINDS, help="default: all"
    )
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="default: all")
    parser.add_argument("--rounds", type=int, default=20, help="of times and of load pairs; default 20")
    parser.add_argument("--seconds", type=float, default=2, help="of each load; default 2")
    parser.add_argument(
        "--save", action="store_true", help="keep the raw figures in benchmarks/data/ and fill the page"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
