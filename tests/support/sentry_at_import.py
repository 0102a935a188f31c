"""A module that sets up Sentry when it is imported, as many applications do."""

import os

from tests.support.sentry_callbacks import component, fail, set_up

__all__ = ["component", "fail"]

set_up(os.environ["OWN_DSN"])
