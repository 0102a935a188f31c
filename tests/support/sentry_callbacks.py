"""A callback that leaves breadcrumbs and tags for Sentry."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk

from taskmaster import Job

FAIL = "tests.support.sentry_callbacks:fail"
SCRUBBED = "scrubbed by the application"


class Wrong(Exception):
    """Raised by the callback."""


def fail(job: Job) -> None:
    """Leave a breadcrumb and a tag, then raise or crash as the payload says."""
    sentry_sdk.add_breadcrumb(message=f"crumb of {job.id}")
    sentry_sdk.set_tag("mine", job.id)
    what = job.payload["do"]
    if what == "raise":
        raise Wrong(f"job {job.id}")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGKILL)


def set_up(dsn: str) -> None:
    """Set up Sentry as an application does that keeps something back."""
    sentry_sdk.init(dsn=dsn, environment="own", before_send=_scrub, default_integrations=False)


def _scrub(event: Any, hint: Any) -> Any:
    event["exception"]["values"][-1]["value"] = SCRUBBED
    return event


@contextmanager
def component() -> Iterator[None]:
    """Set up Sentry in each worker."""
    set_up(os.environ["OWN_DSN"])
    yield


def set_up_and_fail(job: Job) -> None:
    """Set up Sentry in the first job."""
    if sentry_sdk.get_client().options.get("environment") != "own":
        set_up(os.environ["OWN_DSN"])
    fail(job)
