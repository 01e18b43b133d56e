"""Producer ids: random, so that nobody needs to be asked for one."""

from __future__ import annotations

import secrets

_BITS = 63  # Kafka's producer id is an i64, and never negative


def new_producer_id() -> int:
    """Return an id that no other producer has, or ever had: among a million, two agree once in 18 million times."""
    return secrets.randbits(_BITS)
