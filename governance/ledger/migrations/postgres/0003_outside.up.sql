-- How far each tenant's own sequence has come. It is derived from the records, so it may be deleted and is made again.
CREATE TABLE gov_tenant_head (
	tenant TEXT PRIMARY KEY,
	seq BIGINT NOT NULL,
	n BIGINT NOT NULL,
	chain BYTEA NOT NULL
);

-- What witnesses signed: lines that go below the log's own signature.
CREATE TABLE gov_cosignature (
	size BIGINT NOT NULL,
	witness TEXT NOT NULL,
	line TEXT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (size, witness)
);

-- How far each sink outside has been told.
CREATE TABLE gov_publication (
	sink TEXT PRIMARY KEY,
	size BIGINT NOT NULL,
	at BIGINT NOT NULL
);

-- The keys that the log had before, each with the statement that handed it over.
CREATE TABLE gov_log_key (
	since BIGINT NOT NULL,
	vkey TEXT PRIMARY KEY,
	statement TEXT NOT NULL,
	at BIGINT NOT NULL
);

CREATE TRIGGER gov_log_key_guard BEFORE UPDATE OR DELETE ON gov_log_key FOR EACH ROW EXECUTE FUNCTION gov_append_only();

-- Personal values are under keys of those they are about: without its keys every copy of them is noise.
CREATE TABLE gov_subject_key (
	id UUID PRIMARY KEY,
	subject TEXT NOT NULL,
	key BYTEA,
	at BIGINT NOT NULL,
	destroyed_at BIGINT
);
CREATE INDEX gov_subject_key_subject ON gov_subject_key (subject);
ALTER TABLE gov_disclosure ADD COLUMN key_id UUID;
ALTER TABLE gov_disclosure ADD COLUMN sealed BYTEA;
CREATE INDEX gov_disclosure_key ON gov_disclosure (key_id);

-- Which record says that a value was erased.
CREATE TABLE gov_erasure (
	digest TEXT NOT NULL,
	record UUID NOT NULL,
	PRIMARY KEY (digest, record)
);
