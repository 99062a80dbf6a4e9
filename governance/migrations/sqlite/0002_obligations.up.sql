ALTER TABLE gov_action ADD COLUMN break_glass BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE gov_action ADD COLUMN escalate_at BIGINT NOT NULL DEFAULT 0;

CREATE TABLE gov_review (
	id TEXT PRIMARY KEY,
	action TEXT NOT NULL,
	name TEXT NOT NULL,
	kind TEXT NOT NULL,
	policy TEXT NOT NULL,
	tenant TEXT NOT NULL,
	person TEXT NOT NULL,
	actor TEXT NOT NULL,
	reason TEXT NOT NULL,
	state TEXT NOT NULL,
	due_at BIGINT NOT NULL,
	decided_by TEXT NOT NULL,
	decided_at BIGINT NOT NULL,
	note TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX gov_review_open ON gov_review (due_at) WHERE state = 'due';
CREATE INDEX gov_review_action ON gov_review (action);

CREATE TABLE gov_delegation (
	id TEXT PRIMARY KEY,
	delegator TEXT NOT NULL,
	delegate TEXT NOT NULL,
	member_of TEXT NOT NULL,
	reason TEXT NOT NULL,
	from_at BIGINT NOT NULL,
	until_at BIGINT NOT NULL,
	revoked_at BIGINT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX gov_delegation_from ON gov_delegation (delegator, until_at);
CREATE INDEX gov_delegation_to ON gov_delegation (delegate, until_at);

CREATE TABLE gov_back_test (
	hash TEXT PRIMARY KEY,
	policy TEXT NOT NULL,
	document TEXT NOT NULL,
	body TEXT NOT NULL,
	person TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX gov_action_created ON gov_action (created_at, id);
