-- A run that is resumed has several sessions; `wall` counts those that ended in order.

ALTER TABLE runs ADD COLUMN session REAL;   -- UTC, when the one began that goes on or was cut off

UPDATE runs SET session = started WHERE wall IS NULL;
