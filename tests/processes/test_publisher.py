"""Publishers: the caller's encoding and forks, and values that are refused."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest

from taskmaster import Admin, Consumer, InvalidConfig, InvalidJob, Publisher, Supervisor
from tests.support import eventually

URL_OF_ANOTHER_LIBRARY = "postgresql+psycopg://u:s3cret@h/x"


def test_jobs_put_in_a_latin1_transaction_are_stored_unchanged(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    with psycopg.connect(database_url, client_encoding="LATIN1") as theirs:
        ids = publisher.put_many(
            "é", ["é€🦀", {"🦀": "\\ \t"}], headers={"h": "€"}, connection=theirs
        )
    assert [(job.id, job.queue_name, job.payload, job.headers) for job in admin.find()] == [
        (ids[0], "é", "é€🦀", {"h": "€"}),
        (ids[1], "é", {"🦀": "\\ \t"}, {"h": "€"}),
    ]


def test_job_that_latin1_cannot_encode_is_refused(
    publisher: Publisher, admin: Admin, database_url: str
) -> None:
    publisher.put("é", "é")
    with psycopg.connect(database_url, client_encoding="LATIN1") as theirs:
        publisher.put("é", "é", connection=theirs)
        with pytest.raises(
            InvalidJob, match=r"client_encoding .* cannot write '.*': set it to UTF8$"
        ):
            publisher.put("é", "é€🦀", connection=theirs)
        # Nothing was sent: the transaction is still good.
        publisher.put("é", "ü", connection=theirs)
    assert [job.payload for job in admin.find(queue_name="é")] == ["é", "é", "ü"]


def test_schema_of_the_environment_holds_for_the_api(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKMASTER_SCHEMA", "theirs")
    with Publisher(database_url) as publisher:
        job_id = publisher.put("q")
    for schema in (None, "theirs"):
        with Admin(database_url, schema=schema) as admin:
            assert [job.id for job in admin.find()] == [job_id]
    assert Supervisor(database_url, consumers=[Consumer("q", callback="jobs:work")]).schema == (
        "theirs"
    )
    monkeypatch.setenv("TASKMASTER_SCHEMA", "pg_jobs")
    with pytest.raises(
        InvalidConfig, match=r"^TASKMASTER_SCHEMA: schema must not start with 'pg_'"
    ):
        Publisher(database_url)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_puts_while_its_parent_was_putting(publisher: Publisher, admin: Admin) -> None:
    putting, enough = Event(), Event()

    def payloads() -> Iterator[int]:
        yield 1
        putting.set()
        enough.wait(30)

    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(publisher.put_many, "parent", payloads())
        assert putting.wait(10)
        child = os.fork()
        if child == 0:
            publisher.put("child")
            os._exit(0)
        try:
            eventually(lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        finally:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            enough.set()
        put.result(10)
    assert status == 0
    assert (admin.size("child"), admin.size("parent")) == (1, 1)


@pytest.mark.parametrize("headers", [[1], "h", 1, [("a", 1)]])
def test_headers_that_are_not_a_mapping_are_refused(publisher: Publisher, headers: Any) -> None:
    with pytest.raises(InvalidJob, match="headers must be a mapping"):
        publisher.put("q", headers=headers)
    with pytest.raises(InvalidJob, match="headers must be a mapping"):
        publisher.put_many("q", [1], headers=headers)


def test_schema_that_postgres_reads_differently_is_refused(database_url: str) -> None:
    for make in (Publisher, Admin):
        with pytest.raises(InvalidConfig, match=r"\$user"):
            make(database_url, schema="$user")


def test_publisher_refuses_an_invalid_url_without_its_password() -> None:
    with (
        Publisher(URL_OF_ANOTHER_LIBRARY) as publisher,
        pytest.raises(InvalidConfig, match="postgresql://") as refused,
    ):
        publisher.put("q")
    assert "s3cret" not in str(refused.value)
