"""A topic's directory: ``topic.json`` and one directory a partition.

``topic.json`` holds the name, the topic's id, the number of partitions and the configuration. A partition's directory
appears when it is first used.
"""

from __future__ import annotations

import os
from typing import Any

import attrs

from eventlog.config import TopicConfig
from eventlog.errors import ClosedError, CorruptMetadataError, InvalidConfigError, StorageError, UnknownTopicError
from eventlog.files.checkpoint import read_checkpoint, write_checkpoint
from eventlog.files.json_fields import Fields
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.filenames import TOPIC_META
from eventlog.storage.context import LogContext
from eventlog.storage.partition_log import PartitionLog

MAX_PARTITIONS = 100_000
_TOPIC_ID = "[0-9a-f]{32}"


@attrs.define
class TopicFiles:
    """What ``topic.json`` says, and where it lies."""

    context: LogContext
    directory: str
    name: str
    topic_id: str
    partition_count: int
    config: TopicConfig

    def write(self, directory: str | None = None) -> None:
        """Replace ``topic.json``, whole and durable, in the topic's directory or in a staged one."""
        fields: dict[str, Any] = {
            "name": self.name,
            "topic_id": self.topic_id,
            "partitions": self.partition_count,
            "config": attrs.asdict(self.config),
        }
        write_checkpoint(self.context.fs, os.path.join(directory or self.directory, TOPIC_META), "topic", fields)

    @classmethod
    def read(cls, context: LogContext, directory: str, name: str) -> TopicFiles:
        """Read the topic of this name. Raises UnknownTopicError when there is none, and LogMovedError."""
        context.root.check()
        path = os.path.join(directory, TOPIC_META)
        try:
            fields = read_checkpoint(context.fs, path, "topic")
        except FileNotFoundError as error:
            pass_on_handlers(error)
            if not context.fs.has_directory(directory):
                raise UnknownTopicError("no such topic", topic=name, hint="create it with create_topic") from None
            fields = _read_again(context, path, name)  # another topic of this name may have come meanwhile
        if fields.get("name") != name:
            fields.wrong("name", f"{name!r}, as its directory: a topic is copied by reading it into another one")
        return cls(
            context, directory, name, fields.text("topic_id", _TOPIC_ID), fields.whole("partitions", 1, MAX_PARTITIONS),
            _config(fields.inner("config")),
        )  # fmt: skip

    def open_partition(self, number: int) -> PartitionLog:
        """Open a partition's log; its directory is made if this is its first use.

        Raises UnknownTopicError when the topic was deleted, also when another one of its name lies there now, and
        ClosedError when the log was closed.
        """
        if self.context.closed:
            raise ClosedError("the log is closed", topic=self.name, partition=number, hint="open it again")
        path = os.path.join(self.directory, str(number))
        self._refuse_deleted(number)
        try:
            opened = PartitionLog(self.context, path, self.name, number, self.config, self.topic_id)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                self._refuse_deleted(number)  # meanwhile
            raise
        try:
            self._refuse_deleted(number)  # meanwhile: these would be another topic's files
        except BaseException:
            opened.close()
            raise
        return opened

    def _refuse_deleted(self, number: int) -> None:
        if self.read(self.context, self.directory, self.name).topic_id != self.topic_id:
            raise UnknownTopicError(
                "the topic was deleted, and made anew", topic=self.name, partition=number,
                hint="get the new one with log.topic()",
            )  # fmt: skip


def _read_again(context: LogContext, path: str, name: str) -> Fields:
    try:
        return read_checkpoint(context.fs, path, "topic")
    except FileNotFoundError as error:
        pass_on_handlers(error)
        if not context.fs.has_directory(os.path.dirname(path)):
            raise UnknownTopicError("no such topic", topic=name, hint="create it with create_topic") from None
        raise CorruptMetadataError(
            "missing, and its topic's directory is there", path=path, topic=name,
            hint="restore the file from a backup; only it knows the topic's id and settings",
        ) from None  # fmt: skip


def _config(fields: Fields) -> TopicConfig:
    try:
        return TopicConfig(**fields)
    except (TypeError, InvalidConfigError) as error:  # an unknown setting, or an impossible one
        pass_on_handlers(error)
        raise CorruptMetadataError(
            f"config: {error}", path=fields.path, hint="restore the file from a backup"
        ) from error
