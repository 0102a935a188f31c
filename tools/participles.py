"""Tell whether a function is named by a participle, as `connected` is where `connect` is meant.

The first and the last word of a name decide, for `seconds_passed` is one and `given_url` is, too.
Words of one form for the verb and the participle (put, set, run, cut, hit, let) count as verbs.
So does `read`, unless it ends a longer name. Predicates and event handlers are named by a prefix,
and may end as they like: `is_closed`, `has_started`, `on_forked`.
"""

import re

PREFIXES = {"is", "has", "on"}
SPECIAL = re.compile(r"__\w+__")
NO_PARTICIPLES = """
bed embed exceed feed hundred indeed need proceed red seed shed speed succeed
"""
IRREGULAR = """
begun bent bitten blown borne bound bought broken brought built burnt caught chosen done drawn
driven eaten fallen fed felt forgotten fought found frozen given gone got gotten grown held hidden
kept known laid led left lost made meant met mistaken overridden paid proven rewritten said seen
sent shown shrunk sold sought spent spoken spun stolen stood stuck sworn swept taken taught
thought thrown told torn understood undone woken won worn woven written
"""


def is_participle(word: str) -> bool:
    """Return whether the word is an -ed form or an irregular participle."""
    return word in IRREGULAR.split() or (word.endswith("ed") and word not in NO_PARTICIPLES.split())


def is_named_by_participle(name: str) -> bool:
    """Return whether the name begins or ends with a participle."""
    words = name.strip("_").lower().split("_")
    if SPECIAL.fullmatch(name) or words[0] in PREFIXES:
        return False
    return is_participle(words[0]) or is_participle(words[-1]) or words[1:][-1:] == ["read"]
