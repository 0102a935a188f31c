"""What an administrator does with jobs: look, count, requeue, delete. The command line uses nothing else."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from taskmaster.errors import InvalidJob, JobNotFound
from taskmaster.job import JobRecord, State
from taskmaster.session import Session
from taskmaster.store import jobs, supervisors
from taskmaster.store.jobs import QueueCount
from taskmaster.store.supervisors import RunningJob, SupervisorStatus
from taskmaster.validation import check_queue_name

MOST = 100
LARGEST_ID = 2**63 - 1


class Admin:
    """One connection, opened at the first call. `database_url` and `schema` as for Publisher.

    Raises DatabaseUnreachable, and SchemaMismatch when the schema is missing or of another version.

    >>> with Admin("postgresql://…") as admin:  # doctest: +SKIP
    ...     admin.requeue(*[record.id for record in admin.find(state=State.REJECTED)])
    [7, 9]
    """

    def __init__(self, database_url: str | None = None, *, schema: str = "taskmaster") -> None:
        self._session = Session(database_url, schema)

    def get(self, job_id: int) -> JobRecord:
        """One job, wherever it is. Raises JobNotFound: acked, deleted, or never put."""
        with self._session.use() as conn:
            record = next((jobs.get(conn, known) for known in _possible([job_id])), None)
        if record is None:
            raise JobNotFound(f"there is no job {job_id}: it was acked or deleted, or never put")
        return record

    def find(
        self, *, queue_name: str | None = None, state: State | None = None, most: int = MOST
    ) -> list[JobRecord]:
        """Up to `most` jobs, lowest id first, of a queue and in a state; None: any. Raises InvalidJob."""
        if queue_name is not None:
            check_queue_name(queue_name)
        with self._session.use() as conn:
            return jobs.find(conn, queue_name=queue_name, state=state, most=most)

    def pending(self, queue_name: str, *, most: int = MOST) -> list[JobRecord]:
        """Up to `most` jobs of a queue that wait for a worker."""
        return self.find(queue_name=queue_name, state=State.READY, most=most)

    def counts(self) -> list[QueueCount]:
        """Jobs, and the age in seconds of the oldest, by queue and state."""
        with self._session.use() as conn:
            return jobs.counts(conn)

    def size(self, queue_name: str) -> int:
        """Jobs of a queue in all states."""
        return sum(count.jobs for count in self.counts() if count.queue_name == queue_name)

    def supervisors(self) -> list[SupervisorStatus]:
        """The supervisors that are registered, and how long each has been silent."""
        with self._session.use() as conn:
            return supervisors.find(conn)

    def running(self, job_id: int | None = None, *, most: int = MOST) -> list[RunningJob]:
        """Runs that have lasted for a second or say how far they are, longest first; of one job, or of all.

        As their supervisors last said it: with each heartbeat, once a second.
        """
        with self._session.use() as conn:
            return supervisors.running(conn, job_id, most=most)

    def requeue(self, *ids: int) -> list[int]:
        """Put rejected jobs back, `run_count` 0; their ids. Raises JobNotFound, naming those that are not rejected.

        When some cannot be requeued the others are.
        """
        with self._session.use() as conn:
            done = jobs.requeue(conn, _possible(ids))
        _all_done(ids, done, "are not rejected, so they cannot be requeued")
        return done

    def requeue_queue(self, queue_name: str) -> int:
        """Put all rejected jobs of a queue back; how many."""
        with self._session.use() as conn:
            return jobs.requeue_queue(conn, check_queue_name(queue_name))

    def delete(self, *ids: int) -> list[int]:
        """Delete jobs that are not running; their ids. Raises JobNotFound, naming those that were not deleted."""
        with self._session.use() as conn:
            done = jobs.delete(conn, _possible(ids))
        _all_done(ids, done, "cannot be deleted: they run, or there are no such jobs")
        return done

    def delete_queue(self, queue_name: str, *, state: State | None = None) -> int:
        """Delete a queue's jobs that are not running, all or those in one state; how many."""
        with self._session.use() as conn:
            return jobs.delete_queue(conn, check_queue_name(queue_name), state)

    def close(self) -> None:
        """Close the connection; a later call opens another."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _possible(ids: Sequence[int]) -> list[int]:
    """The ids that a job could have. Raises InvalidJob for what is no number."""
    for job_id in ids:
        if isinstance(job_id, bool) or not isinstance(job_id, int):
            raise InvalidJob(f"a job's id must be a whole number, got {job_id!r}")
    return [job_id for job_id in ids if 0 < job_id <= LARGEST_ID]


def _all_done(wanted: Sequence[int], done: Sequence[int], what: str) -> None:
    missing = sorted(set(wanted) - set(done))
    if missing:
        rest = f"; {len(done)} others were done" if done else ""
        raise JobNotFound(f"jobs {', '.join(map(str, missing))} {what}{rest}")
