"""Topics that the log keeps for itself. Their names begin with two underscores, as Kafka's do."""

from __future__ import annotations

from eventlog.errors import InvalidTopicError

OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
_PREFIX = "__"


def is_internal(name: str) -> bool:
    """Tell whether a topic is left out where topics are listed, unless asked for.

    >>> is_internal("__consumer_offsets"), is_internal("_orders")
    (True, False)
    """
    return name.startswith(_PREFIX)


def refuse_reserved(name: object) -> None:
    """Raise InvalidTopicError for a topic that only the log itself creates and writes to, and nobody deletes."""
    if name == OFFSETS_TOPIC:
        raise InvalidTopicError(
            f"{name} holds the committed offsets of all consumer groups", topic=name,
            hint="the first commit of a group creates it, only commits write to it, and it stays as long as the log",
        )  # fmt: skip
    if name == TRANSACTIONS_TOPIC:
        raise InvalidTopicError(
            f"{name} holds the outcomes of all transactions", topic=name,
            hint="the first transactional producer creates it, only commits write to it, it stays as long as the log",
        )  # fmt: skip
