-- Services that were started since the last reset, by name. Whether one of the present guest still runs is told by the guest; one
-- of an earlier guest has ended with that.
CREATE TABLE services (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- Of the guest that it was started in.
    generation INTEGER NOT NULL,
    -- `starting`, `running`, `exited`, `failed`, `stopped`: what was known last.
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    -- JSON: what it was started with.
    definition TEXT NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT;
