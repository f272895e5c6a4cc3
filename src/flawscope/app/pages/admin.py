"""Admin: is the station well, who may do what, what was done, and its settings."""

from __future__ import annotations

from zoneinfo import available_timezones

from fastapi import APIRouter

from flawscope.app.pages.page import Asked, PageKind, add_page
from flawscope.core.types import Json
from flawscope.store.clock import iso
from flawscope.store.options import Options
from flawscope.store.records import RoleName

router = APIRouter(include_in_schema=False)
_ENTRIES = 50
SECTIONS: dict[str, tuple[str, ...]] = {
    "panel": ("theme", "language", "zone", "shortcuts", "sound"),
    "review": ("sample_rate", "review_needed", "known_share", "cost_false_alarm", "cost_missed"),
    "disk": ("keep_ok_days", "keep_review_days", "keep_ng_days", "keep_not_judged_days", "keep_free_gb"),
}


def admin_context(asked: Asked) -> Json:
    """Return health, disk, people, tokens, settings, and the audit log (`action`, `before`)."""
    station, store = asked.station, asked.station.store
    before = asked.number("before")
    entries = store.audit.entries(
        before=None if before is None else int(before), limit=_ENTRIES + 1, action=asked.text("action")
    )
    shown = entries[:_ENTRIES]
    state = station.line.state()
    return {
        "health": {
            "running_s": (store.clock() - station.started_us) / 1e6,
            "started": iso(station.started_us),
            "workers": state.workers,
            "waiting": state.waiting,
            "limit": state.limit,
            "judged": state.judged,
            "refused": state.refused,
            "database": "SQLite" if store.database.is_sqlite else "PostgreSQL",
            "on_line": len(station.line.active.on_line()),
            "open_alarms": len(store.alarms.all(open_only=True)),
            "failed_logins": len(store.audit.entries(limit=200, action="login.failed")),
        },
        "disk": store.retention.disk().to_json(),
        "plan": store.retention.plan(station.options).to_json(),
        "people": [one.to_json() for one in store.people.all()],
        "tokens": [one.to_json() for one in store.people.tokens() if one.revoked_us is None],
        "roles": [role.value for role in RoleName],
        "audit": {
            "entries": [one.to_json() for one in shown],
            "action": asked.text("action"),
            "older": shown[-1].seq if len(entries) > _ENTRIES else None,
            "newest": before is None,
        },
        "settings": station.options.to_json(),
        "defaults": Options().to_json(),
        "is_local": station.settings.is_local,
    }


def drawn(asked: Asked, values: Json) -> Json:
    """Return the context with what only the form needs."""
    return values | {"sections": SECTIONS, "zones": sorted(available_timezones())}


add_page(router, "/admin", PageKind("admin", "admin.html", RoleName.ADMIN), admin_context, drawn=drawn)
