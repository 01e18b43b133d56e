"""The command ``eventlog`` and its subcommands."""

from __future__ import annotations

import click

import eventlog
from eventlog.cli.consume import consume
from eventlog.cli.group import QuietGroup
from eventlog.cli.groups import group, groups
from eventlog.cli.produce import produce
from eventlog.cli.topics import topics
from eventlog.cli.transactions import transactions
from eventlog.cli.verify import verify


@click.group(cls=QuietGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(eventlog.__version__, prog_name="eventlog")
def commands() -> None:
    """Write events to a log in a directory, and read them back."""


for _command in (produce, consume, topics, groups, group, transactions, verify):
    commands.add_command(_command)
