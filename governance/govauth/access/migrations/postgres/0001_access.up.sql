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
CREATE FUNCTION access_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%: rows cannot be changed or deleted', TG_TABLE_NAME;
END $$;
-- end

CREATE TRIGGER access_change_guard BEFORE UPDATE OR DELETE ON access_change FOR EACH ROW EXECUTE FUNCTION access_append_only();

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
