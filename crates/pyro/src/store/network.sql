-- What the networks of guests did since the last reset: the newest events of either kind.
CREATE TABLE network_events (
    sequence INTEGER PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- 1 where something was not reached: what was refused is not to be pushed out by what was not.
    refused INTEGER NOT NULL,
    -- JSON.
    detail TEXT NOT NULL
) STRICT;

CREATE INDEX network_events_of_workspace ON network_events (workspace_id, refused, sequence);
