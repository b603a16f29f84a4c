-- The states a job may be in, as comparisons: for `IN` with seven values SQLite fills a table at each change of a row,
-- which was a sixth of what an attempt cost the server.

CREATE TEMP TABLE kept AS SELECT * FROM jobs;
DROP TABLE jobs;
CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES runs (id),
    name        NOT NULL,
    file        TEXT NOT NULL,              -- the name as a file name: logs/FILE.out, files/FILE/
    spec        TEXT NOT NULL,              -- JSON object, defaults left out
    state       TEXT NOT NULL CHECK (state = 'running' OR state = 'ready' OR state = 'waiting' OR state = 'passed'
                                     OR state = 'failed' OR state = 'skipped' OR state = 'cancelled'),
    attempt     TEXT,                       -- the current or last attempt: the fencing token
    attempts    INTEGER NOT NULL DEFAULT 0,
    lost        INTEGER NOT NULL DEFAULT 0,
    error       TEXT,                       -- why it was skipped
    changed     TEXT,                       -- JSON list of [attempt, 'rerun' or 'keep', what had changed since]
    UNIQUE (run, name)
);
INSERT INTO jobs SELECT * FROM kept;
DROP TABLE kept;
