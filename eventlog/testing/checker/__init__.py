"""Floor 9: a consistency checker for histories of producers and consumers, in the manner of Jepsen's Kafka workload."""

from __future__ import annotations

from eventlog.testing.checker.anomaly import ANOMALIES, CHAIN_ANOMALIES, Anomaly
from eventlog.testing.checker.chain import check_chain
from eventlog.testing.checker.consistency import check
from eventlog.testing.checker.evidence import observed_logs
from eventlog.testing.checker.report import Report

__all__ = ["ANOMALIES", "CHAIN_ANOMALIES", "Anomaly", "Report", "check", "check_chain", "observed_logs"]
