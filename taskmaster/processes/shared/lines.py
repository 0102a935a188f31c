"""How the processes write their log, unless the user has set up logging in another way."""

import logging
import sys

FORMAT = "%(asctime)s %(process)d %(name)s %(message)s"


def write_lines() -> None:
    """Log to standard error, a line per record. Does nothing where logging is set up already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Lines(logging.Formatter):
    """Time, process and logger before each message; a record that is `bare` is a whole line by itself."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if getattr(record, "bare", False) else super().format(record)
