"""Administration: look at jobs, count, requeue and delete them. The command line uses only this."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from taskmaster.environment import default_schema
from taskmaster.errors import InvalidJob, JobNotFound
from taskmaster.job import JobRecord, State
from taskmaster.store import jobs, supervisors
from taskmaster.store.jobs import QueueCount
from taskmaster.store.session import Session
from taskmaster.store.supervisors import RunningJob, SupervisorStatus
from taskmaster.validation import check_queue_name

MOST = 100
LARGEST_ID = 2**63 - 1  # SQL may put jobs with any id


class Admin:
    """Look at jobs and change them, over one connection that is opened at the first call.

    `database_url` and `schema` are as for Publisher. Threads may share an Admin.

    Every method raises DatabaseUnreachable, and SchemaMismatch if the schema is missing or of
    another version.

    >>> with Admin("postgresql://…") as admin:  # doctest: +SKIP
    ...     admin.requeue(*[record.id for record in admin.find(state=State.REJECTED)])
    [7, 9]
    """

    def __init__(self, database_url: str | None = None, *, schema: str | None = None) -> None:
        self._session = Session(database_url, default_schema() if schema is None else schema)

    def get(self, job_id: int) -> JobRecord:
        """Return one job, in whatever state it is.

        Raises JobNotFound if it was acked, deleted or never put.

        >>> admin.get(7).failures[-1].cause  # doctest: +SKIP
        'signal SIGKILL'
        """
        with self._session.use() as conn:
            record = next((jobs.get(conn, known) for known in _plausible([job_id])), None)
        if record is None:
            raise JobNotFound(f"there is no job {job_id}: it was acked or deleted, or never put")
        return record

    def find(
        self, *, queue_name: str | None = None, state: State | None = None, most: int = MOST
    ) -> list[JobRecord]:
        """Return up to `most` jobs, lowest id first, of one queue and in one state.

        If `queue_name` or `state` is None, jobs of any match. Raises InvalidJob if the name cannot
        be a queue's.
        """
        if queue_name is not None:
            check_queue_name(queue_name)
        with self._session.use() as conn:
            return jobs.find(conn, queue_name=queue_name, state=state, most=most)

    def pending(self, queue_name: str, *, most: int = MOST) -> list[JobRecord]:
        """Return up to `most` jobs of a queue that are ready and wait for a worker."""
        return self.find(queue_name=queue_name, state=State.READY, most=most)

    def counts(self) -> list[QueueCount]:
        """Return the number of jobs and the age in seconds of the oldest, by queue and state."""
        with self._session.use() as conn:
            return jobs.counts(conn)

    def size(self, queue_name: str) -> int:
        """Return the number of jobs of a queue in all states."""
        return sum(count.jobs for count in self.counts() if count.queue_name == queue_name)

    def supervisors(self) -> list[SupervisorStatus]:
        """Return the registered supervisors, with the seconds since each one's last heartbeat."""
        with self._session.use() as conn:
            return supervisors.find(conn)

    def running(self, job_id: int | None = None, *, most: int = MOST) -> list[RunningJob]:
        """Return up to `most` runs that have lasted a second or reported progress, longest first.

        If `job_id` is given, only runs of that job are returned. Supervisors update this once a
        second, with their heartbeat.
        """
        with self._session.use() as conn:
            return supervisors.running(conn, job_id, most=most)

    def requeue(self, *ids: int) -> list[int]:
        """Move rejected jobs back to ready with `run_count` 0, and return their ids.

        Raises JobNotFound, naming the jobs that are not rejected. The others are requeued.
        """
        with self._session.use() as conn:
            done = jobs.requeue(conn, _plausible(ids))
        _check_all_done(
            ids,
            done,
            one="is not rejected, so it cannot be requeued",
            many="are not rejected, so they cannot be requeued",
        )
        return done

    def requeue_queue(self, queue_name: str) -> int:
        """Move all rejected jobs of a queue back to ready, and return their number."""
        with self._session.use() as conn:
            return jobs.requeue_queue(conn, check_queue_name(queue_name))

    def delete(self, *ids: int) -> list[int]:
        """Delete jobs that are not running, and return their ids.

        Raises JobNotFound, naming the jobs that were not deleted. The others are deleted.
        """
        with self._session.use() as conn:
            done = jobs.delete(conn, _plausible(ids))
        _check_all_done(
            ids,
            done,
            one="cannot be deleted: it runs, or there is no such job",
            many="cannot be deleted: they run, or there are no such jobs",
        )
        return done

    def delete_queue(self, queue_name: str, *, state: State | None = None) -> int:
        """Delete a queue's jobs that are not running, and return their number.

        If `state` is given, only jobs in that state are deleted.
        """
        with self._session.use() as conn:
            return jobs.delete_queue(conn, check_queue_name(queue_name), state)

    def close(self) -> None:
        """Close the connection. A later call opens another."""
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


def _plausible(ids: Sequence[int]) -> list[int]:
    """Return the ids that a job could have. Raises InvalidJob if one is not a whole number."""
    for job_id in ids:
        if isinstance(job_id, bool) or not isinstance(job_id, int):
            raise InvalidJob(f"a job's id must be a whole number, got {job_id!r}")
    return [job_id for job_id in ids if -LARGEST_ID - 1 <= job_id <= LARGEST_ID]


def _check_all_done(wanted: Sequence[int], done: Sequence[int], *, one: str, many: str) -> None:
    """Raise JobNotFound if a job was left out. `one` and `many` say why, of one job or more."""
    missing = sorted(set(wanted) - set(done))
    if not missing:
        return
    rest = f"; {len(done)} other{' was' if len(done) == 1 else 's were'} done" if done else ""
    names = ", ".join(map(str, missing))
    raise JobNotFound(
        f"job {names} {one}{rest}" if len(missing) == 1 else f"jobs {names} {many}{rest}"
    )
