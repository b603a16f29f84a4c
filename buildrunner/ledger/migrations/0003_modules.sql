-- What was run is known by its content: beside the script's own hash that of each module it imports from its folder.

ALTER TABLE attempts ADD COLUMN modules TEXT;  -- JSON object: path → SHA-256, null when there are none
ALTER TABLE jobs ADD COLUMN changed TEXT;      -- JSON list of [attempt, 'rerun' or 'keep', what had changed since]

-- Nobody has looked at the modules of earlier attempts; of runs that can still be carried on this must be known.
UPDATE attempts SET modules = 'null' WHERE job IN (
    SELECT id FROM jobs WHERE run IN (SELECT run FROM jobs WHERE state NOT IN ('passed', 'failed', 'skipped')));
