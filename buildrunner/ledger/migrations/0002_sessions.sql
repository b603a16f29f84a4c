-- A run that is resumed has several sessions. From here on `wall` is the seconds of all sessions before the one that began
-- at `session`, and of all of them when `session` is null.

ALTER TABLE runs ADD COLUMN session REAL;   -- UTC, when the session began that goes on or was cut off

-- When a second session began that was cut off was not recorded until now: its seconds are lost.
UPDATE runs SET session = started WHERE wall IS NULL;
