"""The watch over imports before the fork: refuse or note what all workers would share.

`taskmaster run` uses it in the template and `taskmaster check` in its own process, so both say the
same.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskmaster.errors import InvalidConfig
from taskmaster.processes.template.news import News, name_all
from taskmaster.processes.template.stock import Stock, take_stock
from taskmaster.store.session import close_sessions

# For threads that were joined and processes that have closed their output to leave the kernel.
LEAVES_SECONDS = 0.5


class ImportWatch:
    """Watches imports, and collects in `notes` sentences about what is doubtful.

    Make it before anything of the user is imported. Threads that exist by then are those of
    sitecustomize or of a .pth file, such as a tracer's. They are noted and not refused: they run in
    every Python of that environment, and other programs fork beside them too.
    """

    def __init__(self) -> None:
        self._strange = take_stock().threads
        self.notes: list[str] = []
        if self._strange:
            names = [thread.name for thread in self._strange.values()]
            self.notes.append(
                f"{name_all('thread', names)} ran before taskmaster did, from sitecustomize or a "
                ".pth file: a worker is forked without threads, and a lock that one of them holds "
                "at that moment is never released in it"
            )

    @contextmanager
    def importing(self, what: str) -> Iterator[None]:
        """Watch an import. `what` begins the sentences, like "callback: importing jobs:send".

        Raises InvalidConfig if workers that are forked later could not work with what it has made.
        """
        before = take_stock()
        yield
        close_sessions()
        news = self._lasting_news(before)
        if news.is_refused:
            raise InvalidConfig(f"{what} {news.refusal}")
        self.notes += [f"{what} {note}" for note in news.notes]

    def _lasting_news(self, before: Stock) -> News:
        leaves_by = time.monotonic() + LEAVES_SECONDS
        while (news := self._news(before)).may_leave and time.monotonic() < leaves_by:
            gc.collect()
            time.sleep(LEAVES_SECONDS / 50)
        return news

    def _news(self, before: Stock) -> News:
        now = take_stock()
        return News.of(now.since(before), now, self._strange.values())
