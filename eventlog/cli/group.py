"""What all commands share: how they end, and how they open a log."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import eventlog
from eventlog.cli.messages import message
from eventlog.cli.terminal import visible
from eventlog.errors import EventLogError, NotALogError
from eventlog.event_log import EventLog
from eventlog.format.filenames import LOG_META

_INTERRUPTED = 130  # 128 and SIGINT, as shells report it
_PIPE_CLOSED = 141  # 128 and SIGPIPE


class QuietGroup(click.Group):
    """Turns every expected end into an exit status: an error is one line, a closed pipe or Ctrl-C is no error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except EventLogError as error:
            raise click.ClickException(visible(message(error))) from error
        except click.UsageError as error:
            raise click.UsageError(visible(error.format_message()), error.ctx) from error
        except click.ClickException as error:
            raise click.ClickException(visible(error.format_message())) from error
        except BrokenPipeError:
            _drop_output()
            raise click.exceptions.Exit(_PIPE_CLOSED) from None
        except OSError as error:  # of a file that is no part of the log
            try:
                sys.stdout.flush()
            except OSError:  # standard output itself: a full disk, say
                _drop_output()
            raise click.ClickException(visible(str(error))) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None


def _drop_output() -> None:
    """Let what cannot be written go: Python would try to flush it when it exits, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_existing(directory: str, *, readonly: bool = False) -> EventLog:
    """Open a log that must be there: a command that reads never creates one."""
    if not os.path.exists(os.path.join(directory, LOG_META)):
        raise NotALogError("no log lies here", path=directory, hint="`eventlog produce` creates one")
    return eventlog.open(directory, create=False, readonly=readonly)
