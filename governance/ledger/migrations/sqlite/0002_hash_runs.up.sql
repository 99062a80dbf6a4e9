-- Hashes are stored as runs: those of one seal, whose places follow each other, are one row.
CREATE TABLE gov_hash_run (
	first INTEGER PRIMARY KEY,
	hashes BLOB NOT NULL
);
INSERT INTO gov_hash_run (first, hashes) SELECT idx, hash FROM gov_hash;
DROP TABLE gov_hash;

-- begin
CREATE TRIGGER gov_hash_run_update BEFORE UPDATE ON gov_hash_run
BEGIN
	SELECT RAISE(ABORT, 'gov_hash_run: rows cannot be changed');
END
-- end

-- begin
CREATE TRIGGER gov_hash_run_delete BEFORE DELETE ON gov_hash_run
BEGIN
	SELECT RAISE(ABORT, 'gov_hash_run: rows cannot be deleted');
END
-- end
