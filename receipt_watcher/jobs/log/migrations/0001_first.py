"""The first version: jobs, attempts, history, destinations, and facts about the installation."""

from typing import Any

STATEMENTS = (
    """
    CREATE TABLE job (
        job_id TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN
            ('queued', 'delivering', 'processing', 'success', 'failure', 'cancelled', 'duplicate')),
        reason TEXT,
        inbox TEXT NOT NULL,
        filename TEXT NOT NULL,
        relative_path BLOB NOT NULL,
        folder TEXT NOT NULL CHECK (folder IN ('processing', 'done', 'failed')),
        stored_path BLOB NOT NULL,
        moving_to_folder TEXT,
        moving_to_path BLOB,
        move_due INTEGER NOT NULL DEFAULT 0,
        note_path BLOB,
        mime_type TEXT,
        size BIGINT NOT NULL,
        sha256 TEXT,
        target TEXT NOT NULL,
        notion_database_id TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        resends INTEGER NOT NULL DEFAULT 0,
        created_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        next_attempt_at DOUBLE PRECISION,
        deadline_at DOUBLE PRECISION,
        completed_at DOUBLE PRECISION,
        destination_failed_at DOUBLE PRECISION,
        message TEXT,
        notion_page_url TEXT,
        duplicate_of TEXT REFERENCES job (job_id),
        CHECK ((moving_to_folder IS NULL) = (moving_to_path IS NULL))
    )
    """,
    # Partial indexes hold only what is open or due: they stay small however long the history grows.
    "CREATE INDEX job_queued ON job (inbox, next_attempt_at) WHERE state = 'queued'",
    "CREATE INDEX job_delivering ON job (inbox) WHERE state = 'delivering'",
    "CREATE INDEX job_processing ON job (inbox, deadline_at) WHERE state = 'processing'",
    "CREATE INDEX job_move_due ON job (job_id) WHERE move_due = 1",
    "CREATE INDEX job_copies ON job (duplicate_of) WHERE duplicate_of IS NOT NULL",
    "CREATE INDEX job_sha256 ON job (sha256)",
    "CREATE INDEX job_state ON job (state)",
    """
    CREATE TABLE attempt (
        id INTEGER NOT NULL PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES job (job_id),
        started_at DOUBLE PRECISION NOT NULL,
        ended_at DOUBLE PRECISION NOT NULL,
        outcome TEXT NOT NULL,
        counted INTEGER NOT NULL,
        status_code INTEGER,
        message TEXT
    )
    """,
    "CREATE INDEX attempt_job ON attempt (job_id)",
    """
    CREATE TABLE history (
        id INTEGER NOT NULL PRIMARY KEY,
        job_id TEXT NOT NULL REFERENCES job (job_id),
        at DOUBLE PRECISION NOT NULL,
        event TEXT NOT NULL,
        from_state TEXT,
        to_state TEXT,
        detail TEXT
    )
    """,
    "CREATE INDEX history_job ON history (job_id)",
    """
    CREATE TABLE destination (
        url TEXT NOT NULL PRIMARY KEY,
        hold_kind TEXT,
        held_since DOUBLE PRECISION,
        hold_message TEXT,
        probe_at DOUBLE PRECISION,
        probes INTEGER NOT NULL DEFAULT 0,
        accepted_at DOUBLE PRECISION,
        called_back_at DOUBLE PRECISION,
        silent_jobs TEXT NOT NULL DEFAULT '[]',
        too_large_job TEXT
    )
    """,
    "CREATE TABLE fact (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
)


def up(_migrator: Any, db: Any) -> None:
    """Create the schema."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
