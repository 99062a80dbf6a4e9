CREATE TABLE retention_setting (
	key TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);

CREATE TABLE retention_rule (
	id TEXT NOT NULL,
	version INTEGER NOT NULL,
	jurisdiction TEXT NOT NULL,
	class TEXT NOT NULL,
	body TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	edited_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (id, version)
);
CREATE UNIQUE INDEX retention_rule_active ON retention_rule (id) WHERE active;

CREATE TABLE retention_policy (
	id TEXT NOT NULL,
	version INTEGER NOT NULL,
	class TEXT NOT NULL,
	scope TEXT NOT NULL,
	body TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	edited_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (id, version)
);
CREATE UNIQUE INDEX retention_policy_active ON retention_policy (id) WHERE active;
CREATE UNIQUE INDEX retention_policy_scope ON retention_policy (scope) WHERE active AND scope <> '';

CREATE TABLE retention_hold (
	id TEXT PRIMARY KEY,
	matter TEXT NOT NULL,
	reason TEXT NOT NULL,
	selector TEXT NOT NULL,
	placed_by TEXT NOT NULL,
	placed_at BIGINT NOT NULL,
	released_by TEXT NOT NULL,
	released_at BIGINT NOT NULL,
	released_for TEXT NOT NULL
);
CREATE INDEX retention_hold_active ON retention_hold (id) WHERE released_at = 0;

CREATE TABLE retention_plan (
	id TEXT PRIMARY KEY,
	source TEXT NOT NULL,
	class TEXT NOT NULL,
	as_of BIGINT NOT NULL,
	revision BIGINT NOT NULL,
	planned BIGINT NOT NULL,
	digest TEXT NOT NULL,
	body TEXT NOT NULL,
	approval TEXT NOT NULL,
	created_by TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX retention_plan_source ON retention_plan (source, created_at);

CREATE TABLE retention_chunk (
	plan TEXT NOT NULL,
	seq INTEGER NOT NULL,
	action TEXT NOT NULL,
	keys TEXT NOT NULL,
	n INTEGER NOT NULL,
	PRIMARY KEY (plan, seq)
);

CREATE TABLE retention_run (
	id TEXT PRIMARY KEY,
	plan TEXT NOT NULL UNIQUE,
	source TEXT NOT NULL,
	state TEXT NOT NULL,
	planned BIGINT NOT NULL,
	deleted BIGINT NOT NULL,
	anonymised BIGINT NOT NULL,
	held BIGINT NOT NULL,
	changed BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	related BIGINT NOT NULL,
	batches INTEGER NOT NULL,
	chunks INTEGER NOT NULL,
	secret TEXT NOT NULL,
	salt TEXT NOT NULL,
	cancel TEXT NOT NULL,
	tries INTEGER NOT NULL,
	error TEXT NOT NULL,
	requested_by TEXT NOT NULL,
	evidence TEXT NOT NULL,
	evidence_hash TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	moved_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL
);
CREATE INDEX retention_run_source ON retention_run (source, started_at);
CREATE INDEX retention_run_open ON retention_run (state) WHERE ended_at = 0;

CREATE TABLE retention_batch (
	run TEXT NOT NULL,
	seq INTEGER NOT NULL,
	body TEXT NOT NULL,
	record TEXT NOT NULL,
	PRIMARY KEY (run, seq)
);

CREATE TABLE retention_item (
	run TEXT NOT NULL,
	seq INTEGER NOT NULL,
	pos INTEGER NOT NULL,
	key TEXT NOT NULL,
	outcome TEXT NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (run, seq, pos)
);
