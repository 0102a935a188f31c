"""Modules that make something when they are imported, before the template forks its workers."""

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskmaster import Admin, Consumer, Publisher, State, WorkersFailed
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.project import ROOT, Project, project

CALLBACK = "\ndef cb(job): ...\n"
# Each keeps open what no two processes can use.
REFUSED = {
    "tcp": (
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "conn = socket.create_connection(listener.getsockname())",
        r"opens a connection to 127\.0\.0\.1:N, and all workers would share it: open it in",
    ),
    "unix": (
        "import socket\n"
        "listener, conn = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)\n"
        "listener.bind('here.sock'); listener.listen(); conn.connect('here.sock')\n"
        "import os; os.unlink('here.sock')",
        r"opens a connection to here\.sock, and all workers would share it",
    ),
    "postgres": (
        "import os, psycopg\nconn = psycopg.connect(os.environ['TASKMASTER_DATABASE_URL'])",
        r"opens a connection to \S+, and all workers would share it: open it in the component",
    ),
    "program": (
        "import subprocess as s\nprogram = s.Popen(['cat'], stdin=s.PIPE, stdout=s.PIPE)",
        r"starts a process 'cat' and opens a pipe from another process, and all workers would",
    ),
    "manager": (
        "import multiprocessing\nshared = multiprocessing.Manager().list()\nshared.append(1)",
        r"starts a process 'python' and opens a connection to /\S+ and a pipe from another process",
    ),
    "thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(1, 'mine')\npool.submit(int).result()",
        r"starts a thread 'mine_0', and a process with threads cannot be forked safely: start",
    ),
    "endless thread": (
        "import threading\nthreading.Thread(target=threading.Event().wait, name='mine').start()",
        r"starts a thread 'mine', and a process with threads cannot be forked safely",
    ),
    "thread of C code": (
        "import faulthandler\nfaulthandler.dump_traceback_later(3600)",
        r"starts a thread 'of C code', and a process with threads cannot be forked safely",
    ),
}
# Each may be meant so.
NOTED = {
    "an eventpoll": "import select\nepoll = select.epoll()",
    "an eventfd": "eventfd = os.eventfd(0)",
    "a socket pair": "import asyncio\nloop = asyncio.new_event_loop()",
    "a listening socket on 127.0.0.1:": "server = socket.create_server(('127.0.0.1', 0))",
    "a datagram socket to 127.0.0.1:9": (
        "udp = socket.socket(type=socket.SOCK_DGRAM)\nudp.connect(('127.0.0.1', 9))"
    ),
    "a socket,": "unused = socket.socket()",
    "a connection to 127.0.0.1:": (
        "import logging.handlers\nlog = socket.create_server(('127.0.0.1', 0))\n"
        "handler = logging.handlers.SysLogHandler(log.getsockname(), socktype=socket.SOCK_STREAM)"
    ),
    "a pipe,": "import multiprocessing\nqueue = multiprocessing.Queue()",
    "a pipe to another process": (
        "import subprocess\nprogram = subprocess.Popen(['cat'], stdin=subprocess.PIPE)"
    ),
    "starts a process 'cat'": "",
    "/written for writing": "written = open('written', 'w')",
    "the SQLite database": (
        "import sqlite3\ndatabase = sqlite3.connect('sqlite')\n"
        "database.execute('create table if not exists t (a)')"
    ),
    "jobs.generator; all workers draw": (
        "import random\ngenerator = random.Random(1)\nothers = random.SystemRandom()"
    ),
}
# These have ended, or may be shared.
SAFE = """
import asyncio, logging.handlers, mmap, os, shutil, socket, subprocess, tempfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory

with ThreadPoolExecutor(8) as pool:
    list(pool.map(str, range(100)))
asyncio.run(asyncio.sleep(0))
ended = subprocess.Popen(["echo"], stdout=subprocess.PIPE)
ended.stdout.read()
with socket.create_server(("127.0.0.1", 0)) as server:
    closed_by_peer = socket.create_connection(server.getsockname())
    server.accept()[0].close()
directory = tempfile.mkdtemp()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
    syslog.bind(f"{directory}/log")
    handler = logging.handlers.SysLogHandler(f"{directory}/log")
shutil.rmtree(directory)
appended, read = open("appended", "a"), open(__file__)
null, random, error = open(os.devnull, "w"), open("/dev/urandom"), os.fdopen(os.dup(2), "w")
memory = shared_memory.SharedMemory(create=True, size=1)
memory.unlink()
mapped = open("mapped", "w+b")
mapped.truncate(1)
mapping = mmap.mmap(mapped.fileno(), 1)
"""
THREAD_OF_C = """
import ctypes
c, thread = ctypes.CDLL(None), ctypes.c_ulong()
c.pthread_create(ctypes.byref(thread), None, ctypes.cast(c.pause, ctypes.c_void_p), None)
"""
SAFE += (
    THREAD_OF_C
    + """
(task,) = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
with open(f"/proc/self/task/{task}/comm", "w") as name:
    name.write("jemalloc_bg_thd")
"""
)
TRACER = """
import threading
never = threading.Event()
def idle(): never.wait()
def trace():
    while True:
        threading.Thread(target=idle, daemon=True, name="later").start()
        never.wait(0.02)
threading.Thread(target=trace, daemon=True, name="tracer").start()
"""


@pytest.fixture
def here(tmp_path: Path, database_url: str, journal: Journal, gates: Gates) -> Iterator[Project]:
    with project(tmp_path / "project", database_url, journal, gates) as one:
        one.configure({"callback": "jobs:cb"})
        yield one


@pytest.fixture
def tracer(here: Project, tmp_path: Path) -> Callable[[str], None]:
    """Write a sitecustomize.py, which each Python of the project runs before anything else."""

    def write(source: str) -> None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(source)
        here.environment["PYTHONPATH"] = f"{tmp_path / 'site'}:{ROOT}"

    return write


def write_jobs(here: Project, source: str, callback: str = CALLBACK) -> None:
    (here.directory / "jobs.py").write_text(source + callback)


def outcome(here: Project, command: str) -> str:
    """Run a command that fails, and return its sentence without ports and random names."""
    assert here.start(command, ready=False).wait(20) == 1, here.output()
    assert "Traceback" not in here.output()
    begins = "failed  callbacks: " if command == "check" else "taskmaster: "
    line = here.log_line(f"{begins}taskmaster.toml")
    return re.sub(r":\d+|/pymp-\S+", ":N", line.removeprefix(begins))


def notes_of_check(here: Project) -> str:
    assert here.start("check", ready=False).wait(20) == 0, here.output()
    return here.log_line("ok      callbacks: ")


# -- what is refused and what is noted


@pytest.mark.parametrize("kind", REFUSED)
def test_import_that_workers_cannot_share_is_refused(here: Project, kind: str) -> None:
    source, words = REFUSED[kind]
    write_jobs(here, source)
    checked = outcome(here, "check")
    where = r"taskmaster\.toml: consumer 'q': callback: importing jobs:cb "
    assert re.match(where + words, checked), checked
    assert outcome(here, "run") == checked


@pytest.mark.parametrize(
    ("consumer", "blamed"),
    [
        ({"component": "mine:component"}, "component: importing mine:component"),
        ({"middleware": ["logging", "mine:middleware"]}, "middleware: importing mine:middleware"),
        ({"middleware": ["mine:prepared"]}, "middleware 'mine:prepared': preparing it"),
    ],
)
def test_refusal_names_the_import_that_is_to_blame(
    here: Project, consumer: dict[str, object], blamed: str
) -> None:
    source = REFUSED["tcp"][0]
    if "prepared" in blamed:
        indented = source.replace("\n", "\n    ")
        source = (
            f"from taskmaster.middleware import define_middleware\n"
            f"def prepare():\n    global listener, conn\n    {indented}\n"
            "@define_middleware(prepare=prepare)\ndef prepared(): ..."
        )
    (here.directory / "mine.py").write_text(
        f"{source}\ndef component(): ...\ndef middleware(handler): return handler\n"
    )
    write_jobs(here, "")
    here.configure({"callback": "jobs:cb", **consumer})
    checked = outcome(here, "check")
    assert f"consumer 'q': {blamed} opens a connection" in checked
    assert outcome(here, "run") == checked


def test_connection_in_the_module_of_a_function_is_refused(
    supervise: Supervise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = REFUSED["tcp"][0].replace("\n", "\n    ")
    is_template = "__import__('setproctitle').getproctitle().startswith('taskmaster template')"
    source = f"if {is_template}:\n    {connect}\n{CALLBACK}"
    (tmp_path / "module_with_a_connection.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    callback = importlib.import_module("module_with_a_connection").cb
    refused = "^consumers: importing the modules of their functions opens a connection to 127"
    with (
        pytest.raises(WorkersFailed, match=refused),
        supervise(Consumer("q", callback=callback)),
    ):
        pass


def test_reload_with_a_connection_at_import_is_refused(
    here: Project, publisher: Publisher, admin: Admin
) -> None:
    write_jobs(here, "")
    here.start()
    write_jobs(here, REFUSED["tcp"][0])
    here.hup()
    refused = "reload failed, keeping the current configuration: taskmaster.toml: consumer 'q': "
    eventually(lambda: f"{refused}callback: importing jobs:cb opens a" in here.output())
    publisher.put("q")
    eventually(lambda: admin.find() == [])
    assert here.stop() == 0


def test_import_that_may_be_meant_so_is_noted(here: Project) -> None:
    silenced = (
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'root': {'level': 'CRITICAL'}})\n"
    )
    write_jobs(here, "\n".join(["import os, socket", silenced, *NOTED.values()]))
    checked = notes_of_check(here)
    here.start()
    run = "".join(line for line in here.output().splitlines(True) if "made before" in line)
    for said in (checked, run):
        assert [words for words in NOTED if words not in said] == []
        assert "consumer 'q': callback: importing jobs:cb starts a process" in said
        assert "jobs.others" not in said
    assert here.stop() == 0


def test_import_that_leaves_nothing_to_share_is_not_noted(
    here: Project, publisher: Publisher, admin: Admin
) -> None:
    write_jobs(here, SAFE)
    assert "importing" not in notes_of_check(here)
    here.start()
    publisher.put("q")
    eventually(lambda: admin.find() == [])
    assert here.stop() == 0
    assert "made before the fork" not in here.output()


def test_blocking_socket_stays_so_beside_a_default_timeout(
    here: Project, publisher: Publisher, journal: Journal
) -> None:
    source = (
        "import os, socket\nfrom tests.support.journal import note\n"
        "pair = socket.socketpair()\nsocket.setdefaulttimeout(5)"
    )
    write_jobs(here, source, "\ndef cb(job): note('saw', blocks=os.get_blocking(pair[0].fileno()))")
    here.start()
    publisher.put("q")
    (line,) = eventually(lambda: journal.lines("saw"))
    assert line["blocks"]
    assert here.stop() == 0


def test_check_imports_with_the_same_environment_as_run(here: Project) -> None:
    source = REFUSED["thread pool"][0].replace("\n", "\n    ")
    write_jobs(here, f"import os\nif os.environ.get('OMP_NUM_THREADS') != '1':\n    {source}")
    assert "importing" not in notes_of_check(here)
    here.start()
    assert here.stop() == 0


# -- threads of others


@pytest.mark.parametrize(("source", "name"), [(TRACER, "tracer"), (THREAD_OF_C, "of C code")])
def test_thread_of_sitecustomize_is_noted_and_jobs_run(
    here: Project, publisher: Publisher, admin: Admin, tracer: Callable[[str], None],
    source: str, name: str,
) -> None:  # fmt: skip
    tracer(source)
    write_jobs(here, "import time\ntime.sleep(0.1)")
    checked = notes_of_check(here)
    here.start()
    for said in (checked, here.output()):
        assert re.search(
            rf"threads? '{name}'(, '[^']+')* ran before taskmaster did, from sitecustom", said
        )
        assert "importing" not in said
    publisher.put("q")
    eventually(lambda: admin.find() == [])
    assert here.stop() == 0


def test_thread_of_a_module_is_refused_beside_one_of_a_tracer(
    here: Project, tracer: Callable[[str], None]
) -> None:
    tracer(TRACER)
    write_jobs(here, REFUSED["thread pool"][0])
    checked = outcome(here, "check")
    assert "jobs:cb starts a thread 'mine_0', and" in checked
    assert outcome(here, "run") == checked


# -- what is repaired


def test_publisher_that_was_used_at_import_is_used_in_workers(
    here: Project, publisher: Publisher, admin: Admin
) -> None:
    source = "from taskmaster import Publisher\npublisher = Publisher()\npublisher.put('imported')"
    write_jobs(here, source, "\ndef cb(job): publisher.put('ran')")
    here.configure({"callback": "jobs:cb", "concurrency": 2, "batch": 1})
    here.start()
    publisher.put_many("q", range(20))
    eventually(lambda: len(admin.find(queue_name="ran", state=State.READY)) == 20)
    assert here.stop() == 0
    assert "made before the fork" not in here.output()


def test_output_that_an_import_has_not_flushed_appears_once(
    here: Project, publisher: Publisher, admin: Admin
) -> None:
    source = (
        "import ctypes, logging.handlers, sys\n"
        "target = logging.StreamHandler(sys.stderr)\n"
        "logging.getLogger().addHandler(logging.handlers.MemoryHandler(100, target=target))\n"
        "logging.getLogger().warning('remembered')\n"
        "print('unfinished by Python', end='')\n"
        "ctypes.CDLL(None).printf(b'unfinished by C')\n"
        "file = open('file', 'a')\nfile.write('imported')"
    )
    here.environment.pop("PYTHONUNBUFFERED", None)
    callback = "\ndef cb(job): file.flush(); ctypes.CDLL(None).fflush(None)"
    write_jobs(here, source, callback)
    here.configure({"callback": "jobs:cb", "concurrency": 2, "max_jobs_per_worker": 1})
    here.start()
    publisher.put_many("q", range(3))
    eventually(lambda: admin.find() == [])
    assert here.stop() == 0
    for words in ("unfinished by Python", "unfinished by C", "remembered"):
        assert here.output().count(words) == 1 + (words == "remembered")  # there are two handlers
    assert (here.directory / "file").read_text() == "imported"


@pytest.mark.parametrize("library", ["random", "numpy.random", "torch"])
def test_each_worker_draws_numbers_of_its_own(
    here: Project, journal: Journal, library: str
) -> None:
    stub = "import random\ngenerator = random.Random(1)\nseed = generator.seed\n"
    if library != "random":
        package = here.directory.joinpath("site-packages", *library.split("."))
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"{stub}random = generator.random\n")
        here.environment["PYTHONPATH"] = f"{here.directory / 'site-packages'}:{ROOT}"
    source = f"import {library} as library\nfrom contextlib import contextmanager\n"
    component = (
        "from tests.support.journal import note\n"
        "@contextmanager\ndef component():\n"
        "    note('drew', number=library.random())\n    yield\n"
    )
    write_jobs(here, source + component)
    here.configure({"callback": "jobs:cb", "component": "jobs:component", "concurrency": 3})
    here.start()
    drawn = [line["number"] for line in journal.lines("drew")]
    assert len(set(drawn)) == 3, drawn
    assert here.stop() == 0
