"""The pure modules, and the tests that are their own."""

from __future__ import annotations

TARGETS: dict[str, list[str]] = {
    "jobs.states": ["tests/unit/jobs/test_states.py"],
    "jobs.verdict": ["tests/unit/jobs/test_verdict.py", "tests/properties/test_callbacks.py"],
    "jobs.log.holds": ["tests/unit/jobs/log/test_holds.py"],
    "inbox.turns": ["tests/unit/inbox/test_turns.py"],
    "inbox.watching.settling": ["tests/unit/inbox/watching/test_settling.py"],
    "inbox.watching.ignored": ["tests/unit/inbox/watching/test_ignored.py"],
    "delivery.pace": ["tests/unit/delivery/test_pace.py"],
    "delivery.destinations.signature": ["tests/unit/delivery/destinations/test_signature.py"],
    "config.schedule": ["tests/unit/config/test_schedule.py"],
    "web.files.links": ["tests/unit/web/files/test_links.py"],
    "web.access.sessions": [
        "tests/unit/web/access/test_other_sites.py",
        "tests/unit/web/access/test_proxies.py",
        "tests/unit/web/access/test_sessions.py",
        "tests/unit/web/access/test_sign_in.py",
    ],
}
