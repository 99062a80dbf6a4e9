CREATE TABLE integration_target (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	kind TEXT NOT NULL,
	connector TEXT NOT NULL,
	config TEXT NOT NULL,
	sealed TEXT NOT NULL,
	public_key TEXT NOT NULL,
	events TEXT NOT NULL,
	mode TEXT NOT NULL,
	state TEXT NOT NULL,
	cause TEXT NOT NULL,
	detail TEXT NOT NULL,
	paused_at BIGINT NOT NULL,
	hold_until BIGINT NOT NULL,
	failures BIGINT NOT NULL,
	failing_since BIGINT NOT NULL,
	version BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);

CREATE TABLE integration_message (
	id TEXT PRIMARY KEY,
	body TEXT NOT NULL
);

CREATE TABLE integration_delivery (
	id TEXT PRIMARY KEY,
	target TEXT NOT NULL REFERENCES integration_target (id),
	tenant TEXT NOT NULL,
	event TEXT NOT NULL,
	type TEXT NOT NULL,
	version BIGINT NOT NULL,
	seq BIGINT NOT NULL,
	state TEXT NOT NULL,
	round BIGINT NOT NULL,
	step INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	next_at BIGINT NOT NULL,
	code TEXT NOT NULL,
	detail TEXT NOT NULL,
	merged_into TEXT NOT NULL,
	sent_version BIGINT NOT NULL,
	waiting_since BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	done_at BIGINT NOT NULL,
	UNIQUE (target, event)
);
CREATE INDEX integration_delivery_lane ON integration_delivery (target, tenant, seq, id) WHERE state IN ('pending', 'parked');
CREATE INDEX integration_delivery_state ON integration_delivery (state, target, id);
CREATE INDEX integration_delivery_tenant ON integration_delivery (tenant, id);
CREATE INDEX integration_delivery_target ON integration_delivery (target, id);

CREATE TABLE integration_attempt (
	id TEXT PRIMARY KEY,
	delivery TEXT NOT NULL REFERENCES integration_delivery (id),
	target TEXT NOT NULL,
	tenant TEXT NOT NULL,
	n INTEGER NOT NULL,
	fence BIGINT NOT NULL,
	idem TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL,
	duration_us BIGINT NOT NULL,
	status INTEGER NOT NULL,
	code TEXT NOT NULL,
	excerpt TEXT NOT NULL
);
CREATE UNIQUE INDEX integration_attempt_delivery ON integration_attempt (delivery, n);
CREATE INDEX integration_attempt_open ON integration_attempt (target, tenant) WHERE ended_at = 0;

CREATE TABLE integration_lane (
	target TEXT NOT NULL REFERENCES integration_target (id),
	tenant TEXT NOT NULL,
	next_at BIGINT NOT NULL,
	lease_until BIGINT NOT NULL,
	fence BIGINT NOT NULL,
	rounds BIGINT NOT NULL,
	told_version BIGINT NOT NULL,
	told_type TEXT NOT NULL,
	told_at BIGINT NOT NULL,
	told_delivery TEXT NOT NULL,
	remote_id TEXT NOT NULL,
	remote_url TEXT NOT NULL,
	PRIMARY KEY (target, tenant)
);
CREATE INDEX integration_lane_due ON integration_lane (next_at) WHERE next_at > 0;
CREATE INDEX integration_lane_tenant ON integration_lane (tenant);

CREATE TABLE integration_call (
	idem TEXT NOT NULL,
	op TEXT NOT NULL,
	target TEXT NOT NULL REFERENCES integration_target (id),
	tenant TEXT NOT NULL,
	subject TEXT NOT NULL,
	state TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	code TEXT NOT NULL,
	detail TEXT NOT NULL,
	result TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL,
	PRIMARY KEY (idem, op)
);
CREATE INDEX integration_call_tenant ON integration_call (tenant, created_at);
