-- What was imported for all warm scripts of a run, and what was found out about it: JSON object, null where nothing was.

ALTER TABLE runs ADD COLUMN preloads TEXT;
