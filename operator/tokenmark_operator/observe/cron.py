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
    """The first time after that one. In the hour that a clock shows twice the library may say one that has passed."""
    times = (at.astimezone(UTC) for at in CronSim(cron, after.astimezone(ZoneInfo(zone))))
    return next(at for at in times if at > after)


def last_due(cron: str, zone: str, now: datetime, since: datetime) -> datetime | None:
    """The last time at or before `now` and after `since`; None where there is none."""
    latest = now.replace(second=0, microsecond=0) + timedelta(minutes=1)  # before the zone: local times are no line
    times = (at.astimezone(UTC) for at in CronSim(cron, latest.astimezone(ZoneInfo(zone)), reverse=True))
    found = next(at for at in times if at <= now)
    return found if found > since else None
