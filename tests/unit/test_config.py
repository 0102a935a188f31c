"""The configuration file: its values, and one sentence for each mistake in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from taskmaster.config import Settings, load, load_or_default
from taskmaster.consumer import Consumer
from taskmaster.embedded import directory_of
from taskmaster.environment import schema_from_environment, url_from_environment
from taskmaster.errors import InvalidConfig
from taskmaster.options import SupervisorOptions
from taskmaster.validation import check_schema

DELIVERIES = "'at_least_once', 'at_most_once', 'transactional'"
MAIL = '[[consumer]]\nqueue_name = "mail"\ncallback = "mails:send"\n'


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASKMASTER_DATABASE_URL", raising=False)
    monkeypatch.delenv("TASKMASTER_SCHEMA", raising=False)
    return tmp_path


def configured(text: str, name: str = "taskmaster.toml") -> Settings:
    """Write `text` to the file and return what `load` reads."""
    Path(name).write_text(text, encoding="utf-8")
    return load()


def refusal(text: str, name: str = "taskmaster.toml") -> str:
    """Return the sentence with which `load` refuses `text`."""
    with pytest.raises(InvalidConfig) as refused:
        configured(text, name)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def specs(settings: Settings, number: int = 0) -> list[object]:
    return list(settings.consumers[number].middleware)


# -- values


WHOLE = """
database_url = "postgresql://host/database"
schema = "jobs"
max_payload_bytes = 2000
middleware = ["logging"]

[supervisor]
grace_seconds = 5

[logging]
format = "json"

[[consumer]]
queue_name = "thumbnails"
callback = "images:thumbnail"
component = "images:resources"
concurrency = 4
delivery = "at_least_once"
max_runs = 2
max_crashes = 1
retry_base_seconds = 0.5
retry_max_seconds = 60
batch = 7
middleware = [{ use = "errors", retry = ["builtins:OSError"] }, "images:audit"]
"""


def test_whole_file_is_read(directory: Path) -> None:
    settings = configured(WHOLE)

    assert settings == Settings(
        database_url="postgresql://host/database",
        schema="jobs",
        max_payload_bytes=2000,
        supervisor=SupervisorOptions(grace_seconds=5),
        consumers=(
            Consumer(
                "thumbnails",
                callback="images:thumbnail",
                component="images:resources",
                concurrency=4,
                max_runs=2,
                max_crashes=1,
                retry_base_seconds=0.5,
                retry_max_seconds=60,
                batch=7,
                middleware=(
                    {"use": "logging", "format": "json"},
                    {"use": "errors", "retry": ["builtins:OSError"]},
                    {"use": "images:audit"},
                ),
            ),
        ),
        source=directory / "taskmaster.toml",
    )


def test_missing_key_has_its_default() -> None:
    settings = configured(MAIL)

    assert (settings.database_url, settings.schema, settings.max_payload_bytes) == (
        None,
        "taskmaster",
        1_000_000,
    )
    assert settings.supervisor == SupervisorOptions()
    assert settings.consumers == (Consumer("mail", callback="mails:send"),)


def test_pyproject_is_read_if_there_is_no_taskmaster_toml(directory: Path) -> None:
    settings = configured(
        '[project]\nname = "shop"\n'
        '[[tool.taskmaster.consumer]]\nqueue_name = "mail"\ncallback = "mails:send"\n',
        "pyproject.toml",
    )

    assert settings.source == directory / "pyproject.toml"
    assert settings.consumers[0].queue_name == "mail"


def test_taskmaster_toml_takes_precedence_over_pyproject(directory: Path) -> None:
    Path("pyproject.toml").write_text('[tool.taskmaster]\nschema = "other"\n')

    assert configured(MAIL).schema == "taskmaster"


def test_given_path_is_read_from_anywhere(directory: Path) -> None:
    Path("conf").mkdir()
    Path("conf/jobs.toml").write_text(MAIL)

    assert load(Path("conf/jobs.toml")).source == directory / "conf" / "jobs.toml"


def test_file_with_a_byte_order_mark_is_read() -> None:
    assert configured("\N{ZERO WIDTH NO-BREAK SPACE}" + MAIL).consumers


@pytest.mark.parametrize("queue_name", ['it\'s "quoted"', "a.b;drop table jobs", "📬 Größe"])
def test_any_queue_name_can_be_configured(queue_name: str) -> None:
    escaped = queue_name.replace('"', '\\"')

    settings = configured(f'[[consumer]]\nqueue_name = "{escaped}"\ncallback = "mails:send"\n')

    assert settings.consumers[0].queue_name == queue_name


def test_environment_takes_precedence_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKMASTER_DATABASE_URL", "postgresql://environment")
    monkeypatch.setenv("TASKMASTER_SCHEMA", "environment")

    settings = configured('database_url = "postgresql://file"\nschema = "file"\n' + MAIL)

    assert (settings.database_url, settings.schema) == ("postgresql://environment", "environment")


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKMASTER_DATABASE_URL", "")
    monkeypatch.setenv("TASKMASTER_SCHEMA", "")

    settings = configured('database_url = "postgresql://file"\n' + MAIL)

    assert (settings.database_url, settings.schema) == ("postgresql://file", "taskmaster")


def test_commands_without_consumers_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKMASTER_SCHEMA", "jobs")

    assert load_or_default() == Settings(schema="jobs")


def test_commands_without_consumers_accept_a_file_without_any() -> None:
    Path("taskmaster.toml").write_text('database_url = "postgresql://host"\n')

    assert load_or_default().database_url == "postgresql://host"


# -- middlewares


def test_shared_middlewares_are_outside_of_a_consumers_own() -> None:
    settings = configured(
        'middleware = ["logging", "sentry"]\n' + MAIL + 'middleware = ["errors"]\n'
    )

    assert specs(settings) == [{"use": "logging"}, {"use": "sentry"}, {"use": "errors"}]


def test_list_options_take_precedence_over_the_middlewares_table() -> None:
    settings = configured(
        'middleware = [{ use = "logging", format = "text" }]\n'
        '[logging]\nformat = "json"\npayload = true\n' + MAIL
    )

    assert specs(settings) == [{"use": "logging", "format": "text", "payload": True}]


def test_table_may_belong_to_the_users_own_middleware() -> None:
    settings = configured(
        '["images:audit"]\nlevel = 3\n' + MAIL + 'middleware = ["images:audit"]\n'
    )

    assert specs(settings) == [{"use": "images:audit", "level": 3}]


def test_table_that_no_middleware_uses_is_refused() -> None:
    assert refusal('middleware = ["logging"]\n[loging]\nformat = "json"\n' + MAIL) == (
        "taskmaster.toml: unknown table [loging] (did you mean 'logging'?); allowed are "
        "[supervisor], [[consumer]] and one for each middleware that a list uses: logging"
    )


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ('"logging"', "middleware must be a list, outermost first, got 'logging'"),
        ("[3]", "middleware #1 must be a name or a table"),
        ('["logging", ""]', "middleware #2 must be a name or a table"),
        ('[{ format = "json" }]', "middleware #1 must be a name or a table"),
    ],
)
def test_middleware_without_a_name_is_refused(listed: str, sentence: str) -> None:
    refused = refusal(MAIL + f"middleware = {listed}\n")
    assert refused.startswith(f"taskmaster.toml: consumer 'mail': {sentence}")


# -- mistakes


def test_missing_file_is_refused_with_the_way_to_write_one(directory: Path) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load()

    assert str(refused.value) == (
        f"no taskmaster.toml in the current directory ({directory.name}/), nor [tool.taskmaster] "
        "in pyproject.toml; run 'taskmaster init' to write one"
    )


@pytest.mark.parametrize("loading", [load, load_or_default])
def test_path_to_nothing_is_refused(loading: Callable[[Path], Settings]) -> None:
    with pytest.raises(
        InvalidConfig, match=r"^jobs\.toml: there is no such file; run 'taskmaster init'"
    ):
        loading(Path("jobs.toml"))


def test_directory_in_the_files_place_is_refused(directory: Path) -> None:
    Path("taskmaster.toml").mkdir()

    with pytest.raises(InvalidConfig, match=r"^taskmaster\.toml: cannot be read: Is a directory$"):
        load()


def test_broken_toml_is_refused_with_its_line() -> None:
    sentence = refusal("schema = \n" + MAIL)

    assert sentence.startswith("taskmaster.toml: not TOML: ")
    assert "line 1" in sentence


def test_file_in_another_encoding_is_refused() -> None:
    Path("taskmaster.toml").write_bytes('schema = "Größe"'.encode("latin-1"))

    with pytest.raises(InvalidConfig, match=r"^taskmaster\.toml: must be UTF-8, byte 12 is not$"):
        load()


def test_pyproject_without_the_table_is_no_configuration() -> None:
    assert "run 'taskmaster init'" in refusal("[tool.ruff]\n", "pyproject.toml")
    with pytest.raises(
        InvalidConfig, match=r"^pyproject\.toml \[tool\.taskmaster\]: there is no such table$"
    ):
        load(Path("pyproject.toml"))


def test_mistake_in_pyproject_is_named_by_its_table() -> None:
    sentence = refusal("[tool.taskmaster]\nshema = 'jobs'\n", "pyproject.toml")

    assert sentence.startswith(
        "pyproject.toml [tool.taskmaster]: unknown key 'shema' (did you mean 'schema'?);"
    )


def test_typo_in_a_key_is_refused_with_file_key_and_choices() -> None:
    assert refusal(MAIL + "concurency = 4\n") == (
        "taskmaster.toml: consumer 'mail': unknown key 'concurency' (did you mean 'concurrency'?); "
        "allowed are queue_name, callback, component, concurrency, middleware, delivery, max_runs, "
        "max_crashes, retry_base_seconds, retry_max_seconds, timeout_seconds, kill_after_seconds, "
        "memory_limit_mb, cpu_limit_seconds, max_jobs_per_worker, max_memory_per_worker_mb, nice, "
        "cpu_affinity, batch"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[consumers]]\n", "unknown key 'consumers' (did you mean 'consumer'?)"),
        ("[superviser]\n", "unknown table [superviser] (did you mean 'supervisor'?)"),
        ("colour = 1\n", "unknown key 'colour'; allowed are database_url, schema"),
        ("[supervisor]\ngrace = 3\n", "supervisor: unknown key 'grace'"),
        (
            "[supervisor]\ngrace_seconds = 'long'\n",
            "supervisor: grace_seconds must be a number from 0 to 86400, got",
        ),
        *(
            (
                f"[supervisor]\nboot_attempts = {value}\n",
                "supervisor: boot_attempts must be a whole number from 1 to 10000, got",
            )
            for value in ("0", "2.5", "true", "10001")
        ),
        (
            "[supervisor]\nauto_migrate = 0\n",
            "supervisor: auto_migrate must be true or false, got",
        ),
        ("[supervisor]\nheartbeat_seconds = -1\n", "supervisor: heartbeat_seconds must be"),
        ("supervisor = 3\n", "supervisor: must be a table, got 3"),
        ("consumer = 3\n", "consumer must be a list of tables, each headed [[consumer]]"),
        (
            "[consumer]\nqueue_name = 'mail'\n",
            "consumer must be a list of tables, each headed [[consumer]]",
        ),
        ("consumer = [3]\n", "consumer #1: must be a table, got 3"),
        ("consumer = []\n", "no [[consumer]] table; add one with queue_name and callback"),
        ("schema = 'jobs'\n", "no [[consumer]] table; add one with queue_name and callback"),
        (
            "max_payload_bytes = 0\n",
            "max_payload_bytes must be a whole number from 1 to 100000000, got 0",
        ),
        (
            "max_payload_bytes = true\n",
            "max_payload_bytes must be a whole number from 1 to 100000000, got True",
        ),
        ("middleware = 'logging'\n", "middleware must be a list"),
        ("schema = 7\n", "schema must be a string, got 7"),
        ("schema = 'pg_jobs'\n", "schema must not start with 'pg_'"),
        ("schema = ''\n", "schema must have 1 to 63 bytes, got ''"),
        (
            "database_url = ''\n",
            'database_url must be a string like "postgresql://user@host/database", got an empty',
        ),
        (
            "database_url = ' '\n",
            'database_url must be a string like "postgresql://user@host/database", got an empty',
        ),
        (
            "database_url = ['secret']\n",
            'database_url must be a string like "postgresql://user@host/database", got list',
        ),
        (
            "database_url = 7\n",
            'database_url must be a string like "postgresql://user@host/database"',
        ),
    ],
)
def test_mistake_outside_of_the_consumers_is_named(text: str, sentence: str) -> None:
    assert refusal(text).startswith(f"taskmaster.toml: {sentence}")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("concurrency = 0", "concurrency must be a whole number from 1 to 1000, got 0"),
        ("concurrency = '4'", "concurrency must be a whole number from 1 to 1000, got '4'"),
        ("delivery = 'exactly_once'", f"delivery must be one of {DELIVERIES}, got 'exactly_once'"),
        (
            "delivery = ['at_least_once']",
            f"delivery must be one of {DELIVERIES}, got ['at_least_once']",
        ),
        ("batch = 'all'", "batch must be a whole number from 1 to 500 or \"auto\", got 'all'"),
        ("max_runs = 0", "max_runs must be"),
        ("max_crashes = 1.5", "max_crashes must be"),
        ("retry_base_seconds = nan", "retry_base_seconds must be a number of seconds"),
        ("component = 3", 'component must be "module:name", got 3'),
    ],
)
def test_mistake_in_a_consumer_is_named_by_its_queue(line: str, sentence: str) -> None:
    assert refusal(MAIL + line + "\n").startswith(f"taskmaster.toml: consumer 'mail': {sentence}")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("callback = 'mails:send'", "queue_name is missing"),
        ("queue_name = ''\ncallback = 'mails:send'", "queue_name: a queue name must not be empty"),
        (
            "queue_name = 7\ncallback = 'mails:send'",
            "queue_name: a queue name must be a string, got int",
        ),
    ],
)
def test_consumer_without_a_valid_name_is_named_by_its_place(table: str, sentence: str) -> None:
    assert refusal(f"{MAIL}[[consumer]]\n{table}\n") == f"taskmaster.toml: consumer #2: {sentence}"


def test_consumer_without_a_callback_is_refused() -> None:
    assert (
        refusal("[[consumer]]\nqueue_name = 'mail'\n")
        == "taskmaster.toml: consumer 'mail': callback is missing"
    )


def test_two_consumers_for_one_queue_are_refused() -> None:
    assert refusal(MAIL + MAIL) == (
        "taskmaster.toml: consumer #2: queue 'mail' has consumer #1 already; "
        "one queue takes one consumer: raise its concurrency instead"
    )


def test_password_is_not_shown_if_another_key_is_wrong() -> None:
    assert "secret" not in refusal(
        'database_url = "postgresql://me:secret@host"\nschema = 7\n' + MAIL
    )


@pytest.mark.parametrize("around", ["{}\n", " {}", "\ufeff{}\r\n", "{}\u00a0"])
def test_white_space_around_url_and_schema_is_ignored(
    monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    url = "postgresql://me@host"
    text = around.format(url).replace("\n", "\\n").replace("\r", "\\r")
    assert configured(f'database_url = "{text}"\n{MAIL}').database_url == url
    assert directory_of(around.format(url)) is None
    monkeypatch.setenv("TASKMASTER_DATABASE_URL", around.format(url))
    monkeypatch.setenv("TASKMASTER_SCHEMA", around.format("jobs"))
    assert (url_from_environment(), schema_from_environment()) == (url, "jobs")


def test_bad_schema_in_the_environment_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASKMASTER_SCHEMA", "pg_jobs")

    assert refusal(MAIL).startswith("TASKMASTER_SCHEMA: schema must not start with 'pg_'")


@pytest.mark.parametrize("schema", ["a", "taskmaster", 'odd "name"; --', "é" * 31, "x" * 63])
def test_schema_that_postgres_accepts_is_accepted(schema: str) -> None:
    assert check_schema(schema) == schema


@pytest.mark.parametrize(
    "schema", ["", "x" * 64, "é" * 32, "pg_x", "a\0b", "\ud800", "a\n", "\ufeffa", None]
)
def test_schema_that_postgres_would_refuse_or_cut_is_refused(schema: object) -> None:
    with pytest.raises(InvalidConfig, match=r"^schema must"):
        check_schema(schema)
