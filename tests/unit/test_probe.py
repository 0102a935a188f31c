"""When the listener's probe is sent, and when its silence counts."""

from taskmaster.processes.supervisor.database.probe import Probe


def sent_at(now: float) -> Probe:
    probe = Probe(every_seconds=5.0, patience_seconds=3.0)
    probe.look(now)
    probe.on_sent(now)
    return probe


def test_probe_is_due_at_once_and_then_after_its_interval() -> None:
    assert Probe().due_at == 0.0
    assert sent_at(100.0).due_at == 105.0


def test_probe_is_overdue_after_steps_in_which_nothing_arrived() -> None:
    probe = sent_at(100.0)
    overdue = []
    for now in (101.0, 102.0, 102.9, 103.0):
        probe.look(now)
        overdue.append(probe.is_overdue(now))
    assert overdue == [False, False, False, True]
    assert probe.next_due() == 103.0


def test_received_probe_is_never_overdue() -> None:
    probe = sent_at(100.0)
    probe.on_received()
    assert not probe.is_overdue(1_000_000.0)
    assert probe.next_due() == 105.0


def test_time_in_which_the_loop_was_not_running_does_not_count() -> None:
    probe = sent_at(100.0)
    probe.look(101.0)
    probe.look(111.0)  # the heartbeat waited for the database
    assert not probe.is_overdue(111.0)
    assert probe.silent_at == 113.0
