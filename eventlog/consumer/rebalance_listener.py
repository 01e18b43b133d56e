"""What a program does when partitions come and go."""

from __future__ import annotations

from eventlog.errors import IllegalStateError, InvalidConfigError
from eventlog.model import TopicPartition
from eventlog.texts import shown


class RebalanceListener:
    """Override what you need. All three are called inside ``poll`` (or ``close``), in the consumer's thread.

    They may use the consumer, except for ``poll``, ``subscribe`` and ``close``. An error that one raises comes out of
    that poll once the rebalance is done. As Kafka's ``ConsumerRebalanceListener``.
    """

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        """These partitions are this consumer's alone from now on; positions are set, and may be changed by ``seek``.

        Called in each rebalance of the group: with an empty list when this member gets none, or no more than it has.
        """

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        """These partitions will be given up when this returns: until then they are this consumer's, and may commit.

        With an eager assignor called in each rebalance, with what the member has, which may be nothing.
        """

    def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        """These partitions are another member's already: it is too late to commit. By default as if revoked."""
        self.on_partitions_revoked(partitions)


def check_listener(listener: object, *, has_group: bool) -> None:
    """Raise InvalidConfigError for what is no listener, IllegalStateError for one that nobody would call."""
    if listener is None:
        return
    if not isinstance(listener, RebalanceListener):
        raise InvalidConfigError(
            f"listener={shown(listener)} is not possible",
            hint="give an instance of a class that extends RebalanceListener",
        )
    if not has_group:
        raise IllegalStateError("a listener, but no group", hint="only groups rebalance: consumer(group=...)")
