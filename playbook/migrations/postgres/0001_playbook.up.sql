CREATE TABLE playbook_playbook (
	name TEXT PRIMARY KEY,
	title TEXT NOT NULL,
	live_version INTEGER NOT NULL,
	shadow_version INTEGER NOT NULL,
	next_scan_at BIGINT NOT NULL,
	events TEXT NOT NULL,
	touched BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);

CREATE TABLE playbook_version (
	name TEXT NOT NULL,
	version INTEGER NOT NULL,
	source TEXT NOT NULL,
	hash TEXT NOT NULL,
	author TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (name, version)
);

CREATE TABLE playbook_pause (
	name TEXT PRIMARY KEY,
	by_actor TEXT NOT NULL,
	reason TEXT NOT NULL,
	at BIGINT NOT NULL
);

CREATE TABLE playbook_exemption (
	id TEXT PRIMARY KEY,
	playbook TEXT NOT NULL,
	tenant TEXT NOT NULL,
	reason TEXT NOT NULL,
	by_actor TEXT NOT NULL,
	until_at BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL
);
CREATE INDEX playbook_exemption_tenant ON playbook_exemption (tenant, until_at);

CREATE TABLE playbook_batch (
	id TEXT PRIMARY KEY,
	playbook TEXT NOT NULL,
	version INTEGER NOT NULL,
	mode TEXT NOT NULL,
	trigger_kind TEXT NOT NULL,
	state TEXT NOT NULL,
	why TEXT NOT NULL,
	scanned INTEGER NOT NULL,
	matched INTEGER NOT NULL,
	unusable INTEGER NOT NULL,
	cap INTEGER NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX playbook_batch_playbook ON playbook_batch (playbook, created_at);

CREATE TABLE playbook_candidate (
	batch TEXT NOT NULL REFERENCES playbook_batch (id),
	tenant TEXT NOT NULL,
	name TEXT NOT NULL,
	verdict TEXT NOT NULL,
	why TEXT NOT NULL,
	signals TEXT NOT NULL,
	run TEXT NOT NULL,
	PRIMARY KEY (batch, tenant)
);

CREATE TABLE playbook_run (
	id TEXT PRIMARY KEY,
	batch TEXT NOT NULL,
	playbook TEXT NOT NULL,
	version INTEGER NOT NULL,
	tenant TEXT NOT NULL,
	tenant_name TEXT NOT NULL,
	mode TEXT NOT NULL,
	trigger_kind TEXT NOT NULL,
	state TEXT NOT NULL,
	why TEXT NOT NULL,
	end_state TEXT NOT NULL,
	undo BOOLEAN NOT NULL,
	signals TEXT NOT NULL,
	causation TEXT NOT NULL,
	depth INTEGER NOT NULL,
	due_at BIGINT NOT NULL,
	lease_until BIGINT NOT NULL,
	fence BIGINT NOT NULL,
	deferred_at BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL
);
CREATE INDEX playbook_run_due ON playbook_run (due_at) WHERE state IN ('running', 'stopping');
CREATE INDEX playbook_run_tenant ON playbook_run (tenant, playbook, created_at);
CREATE INDEX playbook_run_playbook ON playbook_run (playbook, created_at);

CREATE TABLE playbook_step (
	run TEXT NOT NULL REFERENCES playbook_run (id),
	idx INTEGER NOT NULL,
	id TEXT NOT NULL,
	title TEXT NOT NULL,
	kind TEXT NOT NULL,
	state TEXT NOT NULL,
	detail TEXT NOT NULL,
	input TEXT NOT NULL,
	output TEXT NOT NULL,
	checked TEXT NOT NULL,
	checked_at BIGINT NOT NULL,
	approval TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	undo_attempts INTEGER NOT NULL,
	due_at BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL,
	PRIMARY KEY (run, idx)
);
CREATE INDEX playbook_step_approval ON playbook_step (approval) WHERE approval <> '';

CREATE TABLE playbook_timeline (
	run TEXT NOT NULL REFERENCES playbook_run (id),
	n BIGINT NOT NULL,
	at BIGINT NOT NULL,
	step TEXT NOT NULL,
	state TEXT NOT NULL,
	detail TEXT NOT NULL,
	actor TEXT NOT NULL,
	PRIMARY KEY (run, n)
);

CREATE TABLE playbook_inbox (
	id TEXT PRIMARY KEY,
	type TEXT NOT NULL,
	tenant TEXT NOT NULL,
	actor TEXT NOT NULL,
	causation TEXT NOT NULL,
	depth INTEGER NOT NULL,
	at BIGINT NOT NULL,
	due_at BIGINT NOT NULL,
	attempts INTEGER NOT NULL
);
CREATE INDEX playbook_inbox_due ON playbook_inbox (due_at);

CREATE TABLE playbook_runbook (
	name TEXT NOT NULL,
	version INTEGER NOT NULL,
	source TEXT NOT NULL,
	hash TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	author TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX playbook_runbook_active ON playbook_runbook (name) WHERE active;

CREATE TABLE playbook_instance (
	id TEXT PRIMARY KEY,
	runbook TEXT NOT NULL,
	version INTEGER NOT NULL,
	state TEXT NOT NULL,
	open_key TEXT UNIQUE,
	alert TEXT NOT NULL,
	alert_key TEXT NOT NULL,
	subject TEXT NOT NULL,
	tenant TEXT NOT NULL,
	run TEXT NOT NULL,
	ticket TEXT NOT NULL,
	outcome TEXT NOT NULL,
	note TEXT NOT NULL,
	opened_by TEXT NOT NULL,
	opened_at BIGINT NOT NULL,
	closed_by TEXT NOT NULL,
	closed_at BIGINT NOT NULL
);
CREATE INDEX playbook_instance_alert ON playbook_instance (alert, runbook);

CREATE TABLE playbook_check (
	instance TEXT NOT NULL REFERENCES playbook_instance (id),
	step TEXT NOT NULL,
	result TEXT NOT NULL,
	note TEXT NOT NULL,
	evidence TEXT NOT NULL,
	by_actor TEXT NOT NULL,
	person TEXT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (instance, step)
);
