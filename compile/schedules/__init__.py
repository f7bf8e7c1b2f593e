"""Schedules: one operator family, one file. The first rule that answers wins; the last one always answers."""

from compile.schedules.base import Context, Scheduled
