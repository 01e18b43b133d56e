"""Who of a group is dead, or hangs: the kernel tells by a lock, and the time of the last poll."""

from __future__ import annotations

from eventlog.clock import Clock, wall_ms
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.group_state import Member


class Liveness:
    """Judges members by the files of their group."""

    def __init__(self, directory: GroupDirectory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    def now_ms(self) -> int:
        """Return the time on the monotonic clock, by which polls are noted."""
        return int(self._clock.monotonic() * 1000)

    def is_over(self, member: Member) -> bool:
        """Tell whether something has to be done about this member: it died, hangs, or has been gone for too long."""
        if member.gone_at is not None:
            return wall_ms(self._clock.time()) - member.gone_at >= member.session_timeout_ms
        return self.is_gone(member.member_id, member.max_poll_interval_ms)

    def is_gone(self, member_id: str, max_poll_interval_ms: int) -> bool:
        """Tell whether a member died, or has not polled for so long."""
        if not self._directory.is_alive(member_id):
            return True
        now = self.now_ms()  # first: whoever asks may be kept from going on for longer than a poll may take
        last_poll = self._directory.last_poll(member_id)
        return last_poll is None or now - last_poll > max_poll_interval_ms

    def died(self, member: Member) -> bool:
        """Tell whether the member's process is gone, and nobody has noted that yet."""
        return member.gone_at is None and not self._directory.is_alive(member.member_id)
