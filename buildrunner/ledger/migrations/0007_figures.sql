-- What a run comes to, so that a list of runs need not count the scripts of each. Computed from the rows of its jobs and
-- receipts when a session of it ends; gone as soon as it is carried on, and then counted where it is wanted.

CREATE TABLE figures (
    run         INTEGER PRIMARY KEY REFERENCES runs (id),
    figures     TEXT NOT NULL               -- JSON object: states, seconds, longest, busy
);
