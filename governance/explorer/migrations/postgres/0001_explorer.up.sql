-- Who had the whole ledger recomputed, and what it found.
CREATE TABLE gov_verification (
	id UUID PRIMARY KEY,
	asked_by TEXT NOT NULL,
	asked_at BIGINT NOT NULL,
	state TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL,
	records BIGINT NOT NULL,
	checkpoints BIGINT NOT NULL,
	unsealed BIGINT NOT NULL,
	problems TEXT NOT NULL,
	error TEXT NOT NULL
);
CREATE UNIQUE INDEX gov_verification_open ON gov_verification ((1)) WHERE state IN ('waiting', 'running');
