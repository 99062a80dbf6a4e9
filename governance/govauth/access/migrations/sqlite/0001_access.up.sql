CREATE TABLE access_change (
	person TEXT NOT NULL,
	at BIGINT NOT NULL,
	roles TEXT NOT NULL,
	region TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	version BIGINT NOT NULL,
	changed_by TEXT NOT NULL,
	source TEXT NOT NULL,
	PRIMARY KEY (person, at)
);
CREATE INDEX access_change_at ON access_change (at);

-- begin
CREATE TRIGGER access_change_no_update BEFORE UPDATE ON access_change BEGIN
	SELECT RAISE(ABORT, 'access_change: rows cannot be changed');
END
-- end

-- begin
CREATE TRIGGER access_change_no_delete BEFORE DELETE ON access_change BEGIN
	SELECT RAISE(ABORT, 'access_change: rows cannot be deleted');
END
-- end

CREATE TABLE access_state (
	name TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);

CREATE TABLE access_campaign (
	id TEXT PRIMARY KEY,
	title TEXT NOT NULL,
	state TEXT NOT NULL,
	started_by TEXT NOT NULL,
	due_at BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	closed_at BIGINT NOT NULL
);
CREATE INDEX access_campaign_created ON access_campaign (created_at, id);

CREATE TABLE access_review (
	campaign TEXT NOT NULL REFERENCES access_campaign (id),
	person TEXT NOT NULL,
	reviewer TEXT NOT NULL,
	roles TEXT NOT NULL,
	version BIGINT NOT NULL,
	decision TEXT NOT NULL,
	keep TEXT NOT NULL,
	comment TEXT NOT NULL,
	decided_by TEXT NOT NULL,
	decided_at BIGINT NOT NULL,
	PRIMARY KEY (campaign, person)
);
