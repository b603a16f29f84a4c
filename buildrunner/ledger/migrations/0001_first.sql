-- Names are TEXT where they are UTF-8 and BLOB where they are not, so that every file name survives.

CREATE TABLE runs (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,       -- what people and commands call it
    state       TEXT NOT NULL CHECK (state IN ('running', 'finished', 'interrupted', 'cancelled')),
    target      NOT NULL,                   -- as the user named it
    key         NOT NULL,                   -- the same, independent of the working directory
    args        TEXT NOT NULL,              -- JSON list, passed to every script
    options     TEXT NOT NULL,              -- JSON object: what `resume` needs to go on in the same way
    jobs        INTEGER NOT NULL,           -- how many run at once
    python      NOT NULL,
    started     REAL NOT NULL,              -- UTC, seconds since the epoch
    finished    REAL,
    wall        REAL,                       -- seconds, monotonic; grows with every resumption
    exit_code   INTEGER,
    archive     TEXT                        -- JSON object: path, sha256, files
);
CREATE INDEX runs_by_key ON runs (key, args);

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES runs (id),
    name        NOT NULL,
    file        TEXT NOT NULL,              -- the name as a file name: logs/FILE.out, files/FILE/
    spec        TEXT NOT NULL,              -- JSON object, defaults left out
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'ready', 'running', 'passed', 'failed',
                                               'skipped', 'cancelled')),
    attempt     TEXT,                       -- the current or last attempt: the fencing token
    attempts    INTEGER NOT NULL DEFAULT 0,
    lost        INTEGER NOT NULL DEFAULT 0,
    error       TEXT,                       -- why it was skipped
    UNIQUE (run, name)
);

CREATE TABLE attempts (
    id            TEXT PRIMARY KEY,
    job           INTEGER NOT NULL REFERENCES jobs (id),
    number        INTEGER NOT NULL,
    worker        INTEGER NOT NULL,
    script_sha256 TEXT                      -- of the script's content when it was handed out
) WITHOUT ROWID;

CREATE TABLE receipts (
    attempt     TEXT PRIMARY KEY REFERENCES attempts (id),
    job         INTEGER NOT NULL REFERENCES jobs (id),
    number      INTEGER NOT NULL,
    worker      INTEGER,
    mode        TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    exit_code   INTEGER,
    signal      INTEGER,
    started     REAL,
    seconds     REAL NOT NULL,
    cpu_seconds REAL NOT NULL,
    max_rss     INTEGER,                    -- bytes
    outputs     TEXT,                       -- JSON list of [path, bytes, sha256]
    skipped     TEXT,                       -- JSON list of paths
    error       TEXT,
    checksum    TEXT NOT NULL,              -- SHA-256 of the receipt's canonical JSON
    superseded  INTEGER NOT NULL DEFAULT 0  -- 1: came when the attempt was no longer the job's current one
) WITHOUT ROWID;
CREATE INDEX receipts_by_job ON receipts (job);
