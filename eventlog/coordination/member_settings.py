"""What a consumer tells its group of itself."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from eventlog.coordination.assignors.assignor import Assignor


@attrs.frozen
class MemberSettings:
    """What a member is and wants, from its consumer's configuration. Times are in milliseconds."""

    assignors: Mapping[str, Assignor]
    client_id: str = ""
    instance_id: str | None = None
    session_timeout_ms: int = 45_000
    max_poll_interval_ms: int = 300_000
