"""A callback that leaves breadcrumbs and tags for Sentry."""

import os
import signal

import sentry_sdk

from taskmaster import Job

FAIL = "tests.support.sentry_callbacks:fail"


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
