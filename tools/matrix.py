"""Run the tests with every Python and every Postgres found on this machine: `make test-matrix`.

`TESTS=tests/unit make test-matrix` runs a part of them, `--python` and `--postgres` with a version
run a part of the matrix.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tools.postgres import Postgres, find_postgres
from tools.pythons import ROOT, VERSIONS, Python, find_pythons

PROCESSES = os.environ.get("TEST_PROCESSES", "4")
RESULTS = ("passed", "failed", "error", "no tests ran")


class Result(NamedTuple):
    """The end of one run of the tests."""

    has_passed: bool
    summary: str

    def __str__(self) -> str:
        return f"{'ok' if self.has_passed else 'FAILED'}: {self.summary}"


def run_tests(python: Python, postgres: Postgres, tests: Sequence[str]) -> Result:
    """Run the tests with one Python and one Postgres."""
    print(f"\n== Python {python.release}, Postgres {postgres.version}", flush=True)
    began = time.monotonic()
    interpreter = python.prepare()
    with postgres.serve() as variables:
        process = subprocess.Popen(
            [interpreter, "-m", "pytest", "-q", "-n", PROCESSES, *tests],
            cwd=ROOT,
            env=environment(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        summary = copy_output(process)
    seconds = time.monotonic() - began
    return Result(process.returncode == 0, f"{summary or 'no summary'} ({seconds:.0f} s in all)")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a run, without a database that the shell may name."""
    inherited = {k: v for k, v in os.environ.items() if k != "TASKMASTER_TEST_DATABASE_URL"}
    return {**inherited, **variables}


def copy_output(process: "subprocess.Popen[str]") -> str:
    """Print what the tests print until they end, and return their last summary."""
    summary = ""
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if any(result in line for result in RESULTS):
                summary = line.strip(" =\n")
    return summary


def table(results: Mapping[tuple[str, str], Result], missing: Sequence[str]) -> str:
    """Return the results, one line per Python and Postgres."""
    lines = [
        f"Python {python:<6} Postgres {postgres:<9} {result}"
        for (python, postgres), result in results.items()
    ]
    lines += [f"Python {version:<6} not found" for version in missing]
    return "\n".join(lines)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.matrix", description=__doc__)
    parser.add_argument("tests", nargs="*", metavar="TEST", help="Default: all tests.")
    parser.add_argument("--python", action="append", metavar="VERSION", choices=VERSIONS)
    parser.add_argument("--postgres", action="append", metavar="VERSION")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix, print a table, and return the exit code."""
    options = parse_arguments(arguments)
    wanted = options.python or VERSIONS
    pythons = [python for python in find_pythons() if python.version in wanted]
    servers = find_postgres()
    if options.postgres:
        servers = [server for server in servers if server.version in options.postgres]
    results = {
        (python.version, server.version): run_tests(python, server, options.tests)
        for python in pythons
        for server in servers
    }
    found = [python.version for python in pythons]
    print(f"\n{table(results, [version for version in wanted if version not in found])}")
    return 0 if results and all(result.has_passed for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
