-- Hashes are stored as runs: those of one seal, whose places follow each other, are one row.
CREATE TABLE gov_hash_run (
	first BIGINT PRIMARY KEY,
	hashes BYTEA NOT NULL
);
INSERT INTO gov_hash_run (first, hashes) SELECT idx, hash FROM gov_hash;
DROP TABLE gov_hash;
CREATE TRIGGER gov_hash_run_guard BEFORE UPDATE OR DELETE ON gov_hash_run FOR EACH ROW EXECUTE FUNCTION gov_append_only();
