CREATE TABLE gov_record (
	id TEXT PRIMARY KEY,
	n BIGINT,
	tenant TEXT NOT NULL,
	kind TEXT NOT NULL,
	body TEXT NOT NULL,
	digest BLOB NOT NULL,
	at BIGINT NOT NULL
);
CREATE UNIQUE INDEX gov_record_n ON gov_record (n) WHERE n IS NOT NULL;
CREATE INDEX gov_record_new ON gov_record (id) WHERE n IS NULL;
CREATE INDEX gov_record_tenant ON gov_record (tenant, id);

CREATE TABLE gov_disclosure (
	record TEXT NOT NULL,
	field TEXT NOT NULL,
	salt BLOB NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (record, field)
);

CREATE TABLE gov_hash (
	idx INTEGER PRIMARY KEY,
	hash BLOB NOT NULL
);

CREATE TABLE gov_checkpoint (
	size INTEGER PRIMARY KEY,
	root BLOB NOT NULL,
	note TEXT NOT NULL,
	at BIGINT NOT NULL
);

-- begin
CREATE TRIGGER gov_record_update BEFORE UPDATE ON gov_record
WHEN OLD.n IS NOT NULL OR NEW.id IS NOT OLD.id OR NEW.body IS NOT OLD.body OR NEW.digest IS NOT OLD.digest OR NEW.tenant IS NOT OLD.tenant OR NEW.at IS NOT OLD.at
BEGIN
	SELECT RAISE(ABORT, 'gov_record: a record cannot be changed');
END
-- end

-- begin
CREATE TRIGGER gov_record_delete BEFORE DELETE ON gov_record
BEGIN
	SELECT RAISE(ABORT, 'gov_record: a record cannot be deleted');
END
-- end

-- begin
CREATE TRIGGER gov_hash_update BEFORE UPDATE ON gov_hash
BEGIN
	SELECT RAISE(ABORT, 'gov_hash: rows cannot be changed');
END
-- end

-- begin
CREATE TRIGGER gov_hash_delete BEFORE DELETE ON gov_hash
BEGIN
	SELECT RAISE(ABORT, 'gov_hash: rows cannot be deleted');
END
-- end

-- begin
CREATE TRIGGER gov_checkpoint_update BEFORE UPDATE ON gov_checkpoint
BEGIN
	SELECT RAISE(ABORT, 'gov_checkpoint: rows cannot be changed');
END
-- end

-- begin
CREATE TRIGGER gov_checkpoint_delete BEFORE DELETE ON gov_checkpoint
BEGIN
	SELECT RAISE(ABORT, 'gov_checkpoint: rows cannot be deleted');
END
-- end
