CREATE TABLE evidence_pack (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	subject TEXT NOT NULL,
	tenant TEXT NOT NULL,
	name TEXT NOT NULL,
	reason TEXT NOT NULL,
	state TEXT NOT NULL,
	disclosed TEXT NOT NULL,
	records BIGINT NOT NULL,
	files BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	sha256 TEXT NOT NULL,
	content TEXT NOT NULL,
	blob TEXT NOT NULL,
	record TEXT NOT NULL,
	made_by TEXT NOT NULL,
	made_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX evidence_pack_made ON evidence_pack (made_at, id);
CREATE INDEX evidence_pack_subject ON evidence_pack (subject);
CREATE INDEX evidence_pack_kept ON evidence_pack (expires_at) WHERE blob <> '';
