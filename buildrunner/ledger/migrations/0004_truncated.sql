-- Logs whose middle was cut out, because the script wrote more than it was allowed.

ALTER TABLE receipts ADD COLUMN truncated TEXT;  -- JSON list of [stream, bytes left out]
