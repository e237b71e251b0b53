"""When a schedule is due, by the clock of its own time zone (pure). An hour that a clock skips or shows twice in spring and autumn is
taken as cronie does: what was due in the skipped hour is due at its end, and nothing runs twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError


def problem(cron: str, zone: str) -> str | None:
    """What is wrong with a schedule, in a sentence."""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return f"timeZone {zone} is not known; the IANA data base has names such as Europe/Berlin"
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))))
    except CronSimError as exc:
        return f"schedule {cron!r} is none: {exc}"
    except StopIteration:
        return f"schedule {cron!r} is never due"
    return None


def next_due(cron: str, zone: str, after: datetime) -> datetime:
    """The first time after that one."""
    return next(CronSim(cron, after.astimezone(ZoneInfo(zone)))).astimezone(UTC)


def last_due(cron: str, zone: str, now: datetime, since: datetime) -> datetime | None:
    """The last time at or before `now` and after `since`; None where there is none."""
    latest = now.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    found = next(CronSim(cron, latest, reverse=True)).astimezone(UTC)
    return found if found > since else None
