"""One thread per worker, for the libraries that the template imports.

With several processes per core, thread pools only make them wait for each other, and a template
with threads cannot be forked. The libraries read these variables when they are loaded. Afterwards
the variables are removed, because programs that callbacks start would inherit them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Set the variables inside this context, except those that the user has set."""
    ours = [name for name in VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, "1"))
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
