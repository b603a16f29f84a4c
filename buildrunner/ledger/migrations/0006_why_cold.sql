-- Why an attempt was started cold where others of its run were started warm.

ALTER TABLE receipts ADD COLUMN why_cold TEXT;
