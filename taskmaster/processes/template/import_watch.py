"""The watch over imports before the fork: refuse or note what all workers would share.

`taskmaster run` uses it in the template and `taskmaster check` in its own process, so both say the
same.
"""

import gc
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from taskmaster.errors import InvalidConfig
from taskmaster.imports import join_names
from taskmaster.processes.system.descriptors import Sharing, describe
from taskmaster.processes.system.random_numbers import generators_in
from taskmaster.processes.template.stock import Stock, Thread, take_stock
from taskmaster.store.session import close_sessions

# For threads that were joined and processes that have closed their output to leave the kernel.
LEAVES_SECONDS = 0.5
COMPONENT = "in the component, which is entered in each worker"


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
            names = list(dict.fromkeys(thread.name for thread in self._strange.values()))
            self.notes.append(
                f"{_counted('thread', names)} ran before taskmaster did, from sitecustomize or a "
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

    def _lasting_news(self, before: Stock) -> "News":
        leaves_by = time.monotonic() + LEAVES_SECONDS
        while (news := self._news(before)).may_leave and time.monotonic() < leaves_by:
            gc.collect()
            time.sleep(LEAVES_SECONDS / 50)
        return news

    def _news(self, before: Stock) -> "News":
        now = take_stock()
        return News.of(now.since(before), now, self._strange.values())


class News(NamedTuple):
    """News of one import: names of threads and of processes, descriptors, generators.

    A descriptor is `wrong` if sharing it is never right, and `doubtful` if that depends.
    """

    threads: Sequence[str]
    wrong: Sequence[str]
    doubtful: Sequence[str]
    processes: Sequence[str]
    generators: Sequence[str]

    @classmethod
    def of(cls, news: Stock, now: Stock, strange: Collection[Thread]) -> "News":
        """Judge what came in. Beside strange threads, what C code opens may be theirs."""
        found = [describe(fd, now.descriptors) for fd in news.descriptors]
        wrong = [one.words for one in found if one.sharing is Sharing.WRONG]
        doubtful = [one.words for one in found if one.sharing is Sharing.DOUBTFUL]
        return cls(
            threads=[one.name for one in news.threads.values() if not _is_of(one, strange)],
            wrong=[] if strange else wrong,
            doubtful=[*wrong, *doubtful] if strange else doubtful,
            processes=list(news.children.values()),
            generators=list(generators_in(news.modules)),
        )

    @property
    def is_refused(self) -> bool:
        return bool(self.threads or self.wrong)

    @property
    def may_leave(self) -> bool:
        """Whether it is worth waiting, because this may be gone in a moment."""
        return self.is_refused or bool(self.processes)

    @property
    def refusal(self) -> str:
        """Return why the import is refused, without its name."""
        made = self._made(self.wrong)
        if self.threads:
            made = " and ".join(
                [f"starts {_counted('thread', self.threads)}", *filter(None, [made])]
            )
            return (
                f"{made}, and a process with threads cannot be forked safely: start it {COMPONENT}"
            )
        return (
            f"{made}, and all workers would share it: open it {COMPONENT}, or close it at the end "
            "of the import"
        )

    @property
    def notes(self) -> Iterator[str]:
        """Yield what the import has made that may be meant so, without its name."""
        if made := self._made(self.doubtful):
            yield f"{made}, and all workers share it: make it {COMPONENT}, unless that is meant"
        if self.generators:
            what = f"makes random number generators: {', '.join(self.generators)}"
            yield f"{what}; all workers draw the same numbers from them: make them {COMPONENT}"

    def _made(self, opened: Sequence[str]) -> str:
        made = [f"starts {_counted('process', self.processes)}"] if self.processes else []
        made += [f"opens {_listed(opened)}"] if opened else []
        return " and ".join(made)


def _is_of(thread: Thread, strange: Collection[Thread]) -> bool:
    """Return whether strange threads may have started this one."""
    if not strange or not thread.is_of_python:
        return bool(strange)
    return any(thread.packages & other.packages for other in strange)


def _counted(word: str, names: Sequence[str]) -> str:
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{plural if len(names) > 1 else f'a {word}'} {join_names(names)}"


def _listed(words: Sequence[str]) -> str:
    """Return the words with an "and", each once."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
