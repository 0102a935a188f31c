"""libpq's variables: the embedded server's clients ignore them, others use what does no harm."""

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from taskmaster import Admin, Consumer, DatabaseUnreachable, InvalidConfig, Publisher
from taskmaster.store.connection import connect
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.odd_settings import environment
from tests.support.queues import is_drained
from tests.support.server import SCHEMA

# With these, a connection to the URL of a server works as without.
HARMLESS = {
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nowho",
    "PGDATABASE": "nowhere",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/nowhere",
    "PGAPPNAME": "odd",
    "PGCLIENTENCODING": "LATIN1",
    "PGCONNECT_TIMEOUT": "0",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "random",
    "PGDATESTYLE": "German, DMY",
    "PGTZ": "Asia/Kathmandu",
    "PGGEQO": "off",
    "PGOPTIONS": "-c statement_timeout=1 -c default_transaction_read_only=on -c search_path=x",
    "PGSYSCONFDIR": "/nowhere",
    "PGLOCALEDIR": "/nowhere",
    "PGSERVICEFILE": "/nowhere",
    "PGREALM": "nowhere",
    "PGSSLCERT": "/nowhere",
    "PGSSLKEY": "/nowhere",
    "PGSSLCRL": "/nowhere",
    "PGSSLCRLDIR": "/nowhere",
    "PGSSLROOTCERT": "/nowhere",
    "PGSSLSNI": "0",
    "PGSSLCOMPRESSION": "1",
    "PGSSLCERTMODE": "disable",
    "PGSSLMINPROTOCOLVERSION": "TLSv1.3",
    "PGSSLMAXPROTOCOLVERSION": "TLSv1.3",
    "PGKRBSRVNAME": "odd",
    "PGGSSLIB": "gssapi",
    "PGGSSDELEGATION": "1",
    "PGMINPROTOCOLVERSION": "3.0",
    "PGMAXPROTOCOLVERSION": "3.0",
}
# These ask for something that the test's server does not have.
REFUSED = {
    "PGSERVICE": "nosuch",
    "PGREQUIREPEER": "nowho",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGSSLMODE": "odd",
    "PGSSLNEGOTIATION": "direct",
    "PGGSSENCMODE": "require",
    "PGMINPROTOCOLVERSION": "9.9",
    "PGSSLMINPROTOCOLVERSION": "odd",
    "PGLOADBALANCEHOSTS": "odd",
    "PGTZ": "Nowhere/Odd",
    "PGOPTIONS": "-c odd=",
}


@pytest.fixture
def plain_url(database_url: str) -> str:
    """The URL of the test's database, as that of a server that is not embedded."""
    parts = conninfo_to_dict(database_url)
    del parts["fallback_application_name"]
    return make_conninfo("", **{name: str(value) for name, value in parts.items()})


def test_all_variables_of_libpq_are_tried() -> None:
    known = {option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    assert known - {*HARMLESS, *REFUSED} == set()


@pytest.mark.parametrize("name", HARMLESS)
def test_variable_that_does_no_harm_is_accepted(plain_url: str, name: str) -> None:
    with environment({name: HARMLESS[name]}), connect(plain_url, SCHEMA) as conn:
        assert conn.info.encoding == "utf-8"
        assert conn.info.dbname == conninfo_to_dict(plain_url)["dbname"]


@pytest.mark.parametrize("name", REFUSED)
def test_variable_that_cannot_be_met_is_named(plain_url: str, name: str) -> None:
    with (
        environment({name: REFUSED[name]}),
        pytest.raises((DatabaseUnreachable, InvalidConfig), match=name) as why,
    ):
        connect(plain_url, SCHEMA)
    assert "\n" not in str(why.value)


@pytest.mark.parametrize("name", REFUSED)
def test_embedded_server_ignores_what_others_refuse(database_url: str, name: str) -> None:
    with environment({name: REFUSED[name]}), connect(database_url, SCHEMA) as conn:
        assert conn.info.encoding == "utf-8"


@pytest.mark.parametrize("is_embedded", [True, False])
def test_jobs_run_with_all_variables_at_once(
    database_url: str, plain_url: str, supervise: Supervise, journal: Journal, is_embedded: bool
) -> None:
    url, variables = (database_url, HARMLESS | REFUSED) if is_embedded else (plain_url, HARMLESS)
    consumers = [
        Consumer("leased", callback=ACT),
        Consumer("once", callback=ACT, delivery="at_most_once"),
        Consumer("transactional", callback=ACT, delivery="transactional"),
    ]
    with environment(variables), supervise(*consumers, url=url), Publisher(url) as publisher:
        put = [publisher.put(consumer.queue_name, {"text": "🚀"}) for consumer in consumers]
        put += publisher.put_many("leased", ["🚀"], delay=0.1)
        with Admin(url) as admin:
            eventually(lambda: is_drained(admin))
    assert sorted(journal.finished()) == sorted(put)
