"""The figures of the demo, its table and its journal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from taskmaster.demo.journal import Journal, JournalWriter, Run
from taskmaster.demo.output import rows
from taskmaster.demo.summary import Summary, drain_seconds, durations_ms, percentile
from taskmaster.testing import make_job

GOOD = Summary(
    tiles=10, tiles_present=10, runs=12, left_in_queue=0, workers=2, cores=2, wall_seconds=8.0,
    drain_seconds=5.0, cpu_seconds=9.5, tile_median_ms=950.0, tile_p95_ms=1100.0,
    pickup_p50_ms=2.0, pickup_p99_ms=5.0, acked=10, rejected_then_requeued=1,
    crashed_then_run_again=1, killed_pid=77, killed_tile=5, settled_after_seconds=0.02,
    run_again_after_seconds=1.5, width=16, height=9, picture=Path("m.png"),
)  # fmt: skip


def test_efficiency_is_the_share_of_the_cores_in_callbacks() -> None:
    assert GOOD.cpu_efficiency == pytest.approx(0.95)
    assert replace(GOOD, drain_seconds=0.0).cpu_efficiency == 0.0


@pytest.mark.parametrize(
    "worse",
    [
        lambda: replace(GOOD, tiles_present=9),
        lambda: replace(GOOD, left_in_queue=1),
        lambda: replace(GOOD, acked=9),
    ],
)
def test_missing_tile_is_never_called_complete(worse: Callable[[], Summary]) -> None:
    assert GOOD.is_complete
    assert not worse().is_complete


def test_table_says_that_nothing_is_missing_and_what_was_killed() -> None:
    shown = dict(rows(GOOD))

    assert shown["missing"] == "nothing: 10 of 10 tiles"
    assert (
        shown["killed worker"]
        == "pid 77 in tile 5: crash settled after 20 ms, run again in its turn after 1.5 s"
    )


def test_table_does_not_hide_missing_tiles() -> None:
    shown = dict(rows(replace(GOOD, tiles_present=8, left_in_queue=2, killed_pid=None)))

    assert shown["missing"] == "2 of 10 tiles, 2 jobs left in the queue"
    assert shown["killed worker"].startswith("none")


@pytest.mark.parametrize(("part", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_one_of_the_values(part: float, value: int) -> None:
    assert percentile(range(1, 101), part) == value
    assert percentile([], part) == 0.0


def test_run_that_was_cut_off_has_no_duration() -> None:
    runs = [Run(1, 7, 10.0, 10.5), Run(2, 7, 11.0)]

    assert durations_ms(runs) == [500.0]
    assert drain_seconds(runs) == 0.5
    assert drain_seconds([]) == 0.0


def test_journal_shows_which_worker_is_running_a_job(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal")
    with Journal(tmp_path / "journal") as journal:
        assert journal.read().runs == []

        with writer.run(make_job(id=5)):
            (running,) = journal.read().running.values()
            assert running.job == 5

        assert journal.read().running == {}
        assert running.ended_at is not None
        assert running.cpu_seconds >= 0.0
    writer.close()


def test_line_that_is_half_written_is_read_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    line = b'{"job":1,"pid":2,"at":3.0,"ended":false,"cpu_seconds":0.0}\n'
    with Journal(path) as journal:
        path.write_bytes(line[:20])
        assert journal.read().runs == []

        with path.open("ab") as file:
            file.write(line[20:])

        assert [run.job for run in journal.read().of(1)] == [1]
