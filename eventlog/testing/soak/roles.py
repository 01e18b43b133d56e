"""Who works in a run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from eventlog.testing.soak.chain_stage import ChainStage, SecondStage
from eventlog.testing.soak.group_reader import GroupReader
from eventlog.testing.soak.plain_producer import BulkProducer, Feeder, LazyProducer, PlainProducer
from eventlog.testing.soak.transactional_producer import TransactionalProducer
from eventlog.testing.soak.worker import Worker

LAZY = ("lazy",)  # never wait for the device: a power cut may take what was acknowledged to them
ROLES: Mapping[str, type[Worker]] = MappingProxyType({
    "plain": PlainProducer,
    "bulk": BulkProducer,
    "lazy": LazyProducer,
    "transfer": TransactionalProducer,
    "reader": GroupReader,
    "feeder": Feeder,
    "first": ChainStage,
    "second": SecondStage,
})  # fmt: skip
