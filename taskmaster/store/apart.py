"""Do a work for many items at once, and for each by itself if one of them spoils it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg

from taskmaster.store.connection import Connection
from taskmaster.store.faults import is_of_job

Item = TypeVar("Item")


def spoiled_items(
    conn: Connection, work: Callable[[Sequence[Item]], object], items: Sequence[Item]
) -> list[tuple[Item, psycopg.Error]]:
    """Do the work for all items but the spoiled ones. Return these, each with its error.

    The items are halved until a spoiled one is alone, so one among a thousand costs twenty
    statements. Raises psycopg.Error if the connection is lost.
    """
    if not items:
        return []
    try:
        work(items)
    except psycopg.Error as error:
        if conn.closed:
            raise
        if len(items) == 1:
            return [(items[0], error)]
        half = len(items) // 2
        first = spoiled_items(conn, work, items[:half])
        return first + spoiled_items(conn, work, items[half:])
    return []


def spoiled_among(
    conn: Connection, work: Callable[[Sequence[Item]], object], items: Sequence[Item]
) -> list[tuple[Item, psycopg.Error]]:
    """Do as `spoiled_items`, but raise the error if the work is refused for all items.

    Then no item is to blame, unless the error is the fault of one.
    """
    spoiled = spoiled_items(conn, work, items)
    if spoiled and len(spoiled) == len(items) and not is_of_job(spoiled[0][1], conn):
        raise spoiled[0][1]
    return spoiled
