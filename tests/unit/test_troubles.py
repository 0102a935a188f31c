"""Troubles are logged once, and shown while they last."""

import logging

import pytest

from taskmaster.processes.supervisor.database.troubles import Troubles


def test_lock_is_told_once_and_shown_only_if_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    one = Troubles()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            one.record_lock("the heartbeat", "lock timeout")
    assert len(caplog.messages) == 1
    assert one.sentences() == []
    one.long_lock_seconds = 0.0
    assert one.sentences() == ["the heartbeat: it waits for a lock, lock timeout"]
    one.end("the heartbeat")
    assert one.sentences() == []


def test_refusal_after_a_lock_is_told_and_shown_at_once(caplog: pytest.LogCaptureFixture) -> None:
    one = Troubles()
    one.record_lock("the heartbeat", "lock timeout")
    assert one.record("the heartbeat", "no right") > 0
    assert one.sentences() == ["the heartbeat: no right"]
    assert len(caplog.messages) == 2
