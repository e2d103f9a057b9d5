-- Version 1. Times are milliseconds since the Unix epoch; what is only read back as a whole is JSON.
CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    -- creating, running, stopped, deleting
    state TEXT NOT NULL,
    -- Why it is stopped, where nobody asked for that.
    stop_reason TEXT,
    -- Counts the starts: who reports the end of one machine must not be taken to mean the next one.
    generation INTEGER NOT NULL,
    name TEXT,
    labels TEXT NOT NULL,
    -- What it was created as, and never changes.
    origin TEXT NOT NULL,
    -- How its machine came up the last time.
    started TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_activity_at INTEGER NOT NULL,
    reset_count INTEGER NOT NULL,
    last_reset_at INTEGER,
    -- The snapshot of a reset whose disk is ready and that is not complete; empty once the disk is in place.
    pending_reset TEXT
) STRICT;

CREATE TABLE snapshots (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT;

CREATE TABLE commands (
    -- Never used twice: whoever is late must not be taken to mean another command.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    command TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    -- The process that waits for it, which tells whether it may still be running.
    waiter TEXT NOT NULL,
    -- Absent while it runs.
    outcome TEXT,
    stdout TEXT NOT NULL,
    stderr TEXT NOT NULL,
    UNIQUE (workspace_id, sequence)
) STRICT;

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX events_of_workspace ON events (workspace_id);
