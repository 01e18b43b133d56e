"""What a consumer has done, and how far behind it is: Kafka's metrics, under its names with underscores."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from eventlog.clock import Clock
from eventlog.consumer.fetcher import Fetcher
from eventlog.consumer.group_reader import GroupReader
from eventlog.errors import EventLogError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.model import TopicPartition

_WINDOW = 30.0  # seconds, as Kafka's metrics.sample.window.ms; rates are over the present window and the one before
_NEVER = float("-inf")


class _Sample(NamedTuple):
    """The counters when a window began."""

    at: float
    polls: int
    records: int


class ConsumerMetrics:
    """Counts polls, and puts together what others count anyway: a poll pays for two readings and a few comparisons."""

    def __init__(self, clock: Clock, fetcher: Fetcher, group: GroupReader | None) -> None:
        self._monotonic = clock.monotonic
        self._fetcher = fetcher
        self._group = group
        self._polls = 0
        self._first = self._last = _NEVER  # when it polled
        self._longest = 0.0  # seconds between two polls
        self._window_end = _NEVER
        self._samples: deque[_Sample] = deque(maxlen=2)
        self._lags: deque[tuple[float, int]] = deque(maxlen=2)  # when each window began, and the largest lag in it

    # --- counting ---

    def polled(self) -> None:
        """Note that a poll begins."""
        now = self._monotonic()
        self._polls += 1
        if self._fetcher.lag_max:
            self._note_lag()
        if now - self._last > self._longest:
            self._note_gap(now)
        self._last = now
        if now >= self._window_end:
            self._begin_window(now)

    def _note_gap(self, now: float) -> None:
        if self._last == _NEVER:
            self._first = now
        else:
            self._longest = now - self._last

    def _note_lag(self) -> None:
        """Keep the largest lag that polls have left, as Kafka's Max over two windows. In the consumer's thread."""
        lag, self._fetcher.lag_max = self._fetcher.lag_max, 0
        if not self._lags or self._last - self._lags[-1][0] >= _WINDOW:
            self._lags.append((self._last, lag))
        else:
            began, largest = self._lags[-1]
            self._lags[-1] = began, max(largest, lag)

    def _lag_max(self, now: float) -> int:
        """Return the largest lag that polls have left within the last one to two windows."""
        windows = (*self._lags, (self._last, self._fetcher.lag_max))
        return max((lag for began, lag in windows if now - began < 2 * _WINDOW), default=0)

    def _begin_window(self, now: float) -> None:
        self._window_end = now + _WINDOW
        self._samples.append(_Sample(now, self._polls, self._fetcher.consumed))

    # --- telling ---

    def values(self, *, closed: bool) -> dict[str, float]:
        """Return all metrics; those of the partitions only while the consumer is not closed."""
        found = self._of_polls()
        if self._group is not None:
            found["commit_total"] = self._group.committer.commits
            found["rebalance_total"] = self._group.rebalances
            found["failed_rebalance_total"] = self._group.failed_rebalances
        readers = {} if closed else self._fetcher.readers
        lags = {} if closed else dict(self._present_lags())
        found["assigned_partitions"] = len(readers)
        found["records_lag_max"] = 0 if closed else max([*lags.values(), self._lag_max(self._monotonic())])
        found.update((f"{topic}-{partition}.records_lag", lag) for (topic, partition), lag in lags.items())
        return found

    def _of_polls(self) -> dict[str, float]:
        now = self._monotonic()
        polls, records, last = self._polls, self._fetcher.consumed, self._last
        has_polled = last != _NEVER
        if has_polled and now >= self._window_end:
            self._begin_window(now)
        since = self._samples[0] if self._samples else _Sample(now, 0, 0)
        seconds = now - since.at
        gaps = max(1, polls - 1)
        return {
            "poll_total": polls,
            "poll_rate": (polls - since.polls) / seconds if seconds > 0 else 0.0,
            "last_poll_seconds_ago": now - last if has_polled else -1.0,
            "time_between_poll_avg": (last - self._first) * 1000 / gaps if has_polled else 0.0,
            "time_between_poll_max": self._longest * 1000,
            "records_consumed_total": records,
            "records_consumed_rate": (records - since.records) / seconds if seconds > 0 else 0.0,
        }

    def _present_lags(self) -> Iterator[tuple[TopicPartition, int]]:
        for tp, reader in self._fetcher.readers.items():  # never changed, but replaced as a whole
            try:
                if reader.is_located:
                    yield tp, reader.lag
            except EventLogError as error:
                pass_on_handlers(error)
                continue  # a topic that was deleted: the next poll says so
