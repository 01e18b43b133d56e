"""What a check found, to be asked and to be printed."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from eventlog.testing.checker.anomaly import ANOMALIES, CHAIN_ANOMALIES, Anomaly

SHOWN = 5
"""How many anomalies of each name are printed. All of them are in ``anomalies``."""


@attrs.frozen
class Report:
    """The anomalies of a history by name; each name that was looked for is there, mostly with an empty list.

    ``counts`` says how much was looked at: nothing found in nothing proves nothing. ``str(report)`` is a table,
    followed by the first anomalies of each name.
    """

    anomalies: Mapping[str, list[Anomaly]]
    counts: Mapping[str, int] = attrs.field(factory=dict)
    allowed: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """True when nothing was found but what is allowed."""
        return not self.found - self.allowed

    @property
    def found(self) -> frozenset[str]:
        """The names of what was found, allowed or not."""
        return frozenset(name for name, anomalies in self.anomalies.items() if anomalies)

    def __str__(self) -> str:
        verdict = "consistent" if self.ok else "NOT CONSISTENT"
        lines = [f"{verdict}: {', '.join(f'{count} {what}' for what, count in self.counts.items())}", ""]
        meanings = {**ANOMALIES, **CHAIN_ANOMALIES}
        for name, anomalies in self.anomalies.items():
            meaning = meanings[name] + (" (allowed)" if name in self.allowed else "")
            lines.append(f"{name:<22}{len(anomalies):>8}  {meaning}")
        for name in self.anomalies:
            lines += self._told(name)
        return "\n".join(lines)

    def _told(self, name: str) -> list[str]:
        anomalies = self.anomalies[name]
        if not anomalies:
            return []
        told = ["", f"{name}:", *(f"  {anomaly.sentence}" for anomaly in anomalies[:SHOWN])]
        return [*told, f"  and {len(anomalies) - SHOWN} more"] if len(anomalies) > SHOWN else told
