CREATE TABLE gov_setting (
	key TEXT PRIMARY KEY,
	value TEXT NOT NULL,
	changed_at BIGINT NOT NULL
);

CREATE TABLE gov_policy (
	id TEXT NOT NULL,
	version INTEGER NOT NULL,
	body TEXT NOT NULL,
	hash TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	edited_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (id, version)
);
CREATE UNIQUE INDEX gov_policy_active ON gov_policy (id) WHERE active;

CREATE TABLE gov_action (
	id UUID PRIMARY KEY,
	name TEXT NOT NULL,
	remote BOOLEAN NOT NULL,
	tenant TEXT NOT NULL,
	resource TEXT NOT NULL,
	resource_version BIGINT NOT NULL,
	digest TEXT NOT NULL,
	input TEXT NOT NULL,
	input_digest TEXT NOT NULL,
	measures TEXT NOT NULL,
	preview TEXT NOT NULL,
	decision TEXT NOT NULL,
	policy_hash TEXT NOT NULL,
	requirement TEXT NOT NULL,
	state TEXT NOT NULL,
	held BOOLEAN NOT NULL,
	bootstrap BOOLEAN NOT NULL,
	requester TEXT NOT NULL,
	requester_person TEXT NOT NULL,
	subject_person TEXT NOT NULL,
	reason TEXT NOT NULL,
	ticket TEXT NOT NULL,
	result TEXT NOT NULL,
	error TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	fence BIGINT NOT NULL,
	lease_until BIGINT NOT NULL,
	decide_by BIGINT NOT NULL,
	execute_by BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	decided_at BIGINT NOT NULL,
	executed_at BIGINT NOT NULL
);
CREATE INDEX gov_action_open ON gov_action (state, created_at) WHERE state IN ('pending', 'approved', 'executing', 'unknown', 'failed');
CREATE INDEX gov_action_held ON gov_action (created_at, id) WHERE held;
CREATE INDEX gov_action_tenant ON gov_action (tenant, created_at);

CREATE TABLE gov_vote (
	approval UUID NOT NULL REFERENCES gov_action (id),
	person TEXT NOT NULL,
	actor TEXT NOT NULL,
	decision TEXT NOT NULL,
	digest TEXT NOT NULL,
	comment TEXT NOT NULL,
	groups TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (approval, person)
);

CREATE TABLE gov_budget (
	key TEXT PRIMARY KEY,
	turns BIGINT NOT NULL
);

CREATE TABLE gov_reservation (
	id UUID PRIMARY KEY,
	key TEXT NOT NULL REFERENCES gov_budget (key),
	action UUID NOT NULL,
	amount BIGINT NOT NULL,
	state TEXT NOT NULL,
	reserved_at BIGINT NOT NULL
);
CREATE INDEX gov_reservation_window ON gov_reservation (key, reserved_at);
CREATE INDEX gov_reservation_action ON gov_reservation (action);

CREATE TABLE gov_tenant (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	country TEXT NOT NULL,
	region TEXT NOT NULL,
	owner TEXT NOT NULL,
	status TEXT NOT NULL,
	plan TEXT NOT NULL,
	seats BIGINT NOT NULL,
	renewal_at BIGINT NOT NULL,
	active_at BIGINT NOT NULL,
	attributes TEXT NOT NULL,
	version BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX gov_tenant_name ON gov_tenant (name, id);

CREATE TABLE gov_tenant_key (
	system TEXT NOT NULL,
	key TEXT NOT NULL,
	tenant TEXT NOT NULL REFERENCES gov_tenant (id),
	PRIMARY KEY (system, key)
);
CREATE INDEX gov_tenant_key_tenant ON gov_tenant_key (tenant);

CREATE TABLE gov_entitlement (
	tenant TEXT NOT NULL REFERENCES gov_tenant (id),
	feature TEXT NOT NULL,
	quantity BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	source TEXT NOT NULL,
	version BIGINT NOT NULL,
	PRIMARY KEY (tenant, feature)
);

CREATE TABLE gov_restriction (
	tenant TEXT NOT NULL REFERENCES gov_tenant (id),
	reason TEXT NOT NULL,
	feature TEXT NOT NULL,
	detail TEXT NOT NULL,
	placed_by TEXT NOT NULL,
	placed_at BIGINT NOT NULL,
	version BIGINT NOT NULL,
	PRIMARY KEY (tenant, reason)
);

CREATE TABLE gov_alert (
	id UUID PRIMARY KEY,
	key TEXT NOT NULL,
	open_key TEXT UNIQUE,
	severity TEXT NOT NULL,
	title TEXT NOT NULL,
	body TEXT NOT NULL,
	tenant TEXT NOT NULL,
	links TEXT NOT NULL,
	state TEXT NOT NULL,
	times BIGINT NOT NULL,
	first_at BIGINT NOT NULL,
	last_at BIGINT NOT NULL,
	acked_by TEXT NOT NULL,
	acked_at BIGINT NOT NULL
);
CREATE INDEX gov_alert_state ON gov_alert (state, last_at);

CREATE TABLE gov_alert_delivery (
	alert UUID NOT NULL REFERENCES gov_alert (id),
	notifier TEXT NOT NULL,
	state TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	next_at BIGINT NOT NULL,
	error TEXT NOT NULL,
	PRIMARY KEY (alert, notifier)
);
CREATE INDEX gov_alert_delivery_due ON gov_alert_delivery (state, next_at);
