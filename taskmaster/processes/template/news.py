"""News of an import: the judgement of what it has made, in words."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from taskmaster.imports import join_names
from taskmaster.processes.system.descriptors import Sharing, describe, sockets_of_logging
from taskmaster.processes.system.random_numbers import generators_in
from taskmaster.processes.template.stock import Stock, Thread

COMPONENT = "in the component, which is entered in each worker"


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
        """Judge what came in. While there are strange threads, a connection may be theirs."""
        excused = news.descriptors if strange else sockets_of_logging()
        found = {fd: describe(fd, now.descriptors) for fd in news.descriptors}
        wrong = {
            fd: one.words
            for fd, one in found.items()
            if one.sharing is Sharing.WRONG and fd not in excused
        }
        return cls(
            threads=[one.name for one in news.threads.values() if not _is_of(one, strange)],
            wrong=list(wrong.values()),
            doubtful=[one.words for fd, one in found.items() if one.words and fd not in wrong],
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
        made = self._summary(self.wrong)
        if self.threads:
            reason = "a process with threads cannot be forked safely"
            return f"{made}, and {reason}: start it, or import what starts it, {COMPONENT}"
        reason = "all workers would share it: open it"
        return f"{made}, and {reason} {COMPONENT}, or close it at the end of the import"

    @property
    def notes(self) -> Iterator[str]:
        """Yield what the import has made that may be meant so, without its name."""
        if made := self._summary(self.doubtful):
            yield f"{made}, and all workers share it: make it {COMPONENT}, unless that is meant"
        if self.generators:
            what = f"makes random number generators: {', '.join(self.generators)}"
            yield f"{what}; all workers draw the same numbers from them: make them {COMPONENT}"

    def _summary(self, opened: Sequence[str]) -> str:
        made = [f"starts {name_all('thread', self.threads)}"] if self.threads else []
        made += [f"starts {name_all('process', self.processes)}"] if self.processes else []
        made += [f"opens {_join(opened)}"] if opened else []
        return _join(made) if made else ""


def _is_of(thread: Thread, strange: Collection[Thread]) -> bool:
    """Return whether strange threads may have started this one."""
    if not strange or not thread.is_of_python:
        return bool(strange)
    return any(thread.packages & other.packages for other in strange)


def name_all(word: str, names: Sequence[str]) -> str:
    """Return the word in singular or plural with the names, like "a thread 'tracer'"."""
    different = dict.fromkeys(names)
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{plural if len(different) > 1 else f'a {word}'} {join_names(different)}"


def _join(words: Sequence[str]) -> str:
    """Return the words with an "and", each once."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} and {last}" if first else last
