"""The arithmetic of the benchmarks."""

import io
import itertools

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.counters import Sample, sample, speed, time_of
from benchmarks.environment import BenchmarkFailed

ABOUT: report.About = {
    "machine": "m", "cores": 2, "system": "s", "postgres": "18", "python": "3.11",
    "load_before": 0.1, "seconds": 1,
}  # fmt: skip


def printed_table(figures: report.Figures) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(report.table(figures, ABOUT))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_slowest_of_a_hundred_is_beyond_the_99th_percentile() -> None:
    values = [*range(1, 100), 1000]
    assert report.percentile(values, 0.99) == 99
    assert report.percentile(values, 0.50) == 50
    assert report.percentile(values, 1.0) == 1000


def test_percentile_does_not_depend_on_the_order() -> None:
    assert report.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert report.percentile([7.0], 0.5) == 7.0


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("put_many_jobs_per_s", 100_000, 99_999),
        ("drain_to_raw", 0.5, 0.49),
        ("pickup_p99_ms", 12.0, 12.1),
        ("idle_cpu_percent", 0.5, 0.51),
        ("idle_statements_per_s", 3.0, 3.05),
        ("pinned_last_to_first", 0.9, 0.89),
    ],
)
def test_missed_target_is_not_shown_as_met(name: str, good: float, bad: float) -> None:
    assert report.is_met(name, good)
    assert not report.is_met(name, bad)
    assert "missed" in printed_table({name: bad})
    assert "missed" not in printed_table({name: good})


def test_figure_without_a_target_has_no_verdict() -> None:
    assert report.target("put_jobs_per_s") == ""
    assert "met" not in printed_table({"put_jobs_per_s": 5.0})


def test_small_figures_keep_digits_and_large_ones_are_grouped() -> None:
    assert report.format_figure(0.0123) == "0.0123"
    assert report.format_figure(1.8349) == "1.83"
    assert report.format_figure(141_188.4) == "141,188"


def test_processor_has_the_name_that_linux_gives_it() -> None:
    assert (
        report.cpu_name("processor\t: 0\nmodel name\t: Fast: 2 GHz\nmodel name\t: Fast: 2 GHz\n")
        == "Fast: 2 GHz"
    )
    assert report.cpu_name("processor : 0\n")


def test_time_between_two_samples_is_shared_evenly() -> None:
    samples = [Sample(10.0, 0), Sample(11.0, 100), Sample(13.0, 200)]
    assert time_of(samples, 50) == 10.5
    assert time_of(samples, 150) == 12.0
    assert speed(samples, 0, 100) == 100.0
    assert speed(samples, 100, 200) == 50.0


def test_number_of_jobs_that_never_ran_raises() -> None:
    with pytest.raises(BenchmarkFailed, match="no sample around 300 jobs"):
        time_of([Sample(1.0, 0), Sample(2.0, 200)], 300)


def test_time_before_the_first_job_does_not_count() -> None:
    counts = iter([0, 0, 5, 5, 10])
    samples = sample(lambda: next(counts), 10)
    assert [one.jobs for one in samples] == [0, 5, 10]


@pytest.mark.parametrize("ran", [0, 5])
def test_stalled_drain_fails_instead_of_hanging(monkeypatch: pytest.MonkeyPatch, ran: int) -> None:
    monkeypatch.setattr("benchmarks.counters.STALL_SECONDS", 0.03)
    endless = itertools.repeat(ran)
    with pytest.raises(BenchmarkFailed, match=f"{ran} of 10 jobs ran"):
        sample(lambda: next(endless), 10)
