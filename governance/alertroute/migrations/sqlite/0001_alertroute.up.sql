CREATE TABLE gov_alert_route (
	version INTEGER PRIMARY KEY,
	body TEXT NOT NULL,
	hash TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	edited_by TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX gov_alert_route_active ON gov_alert_route (active) WHERE active;

CREATE TABLE gov_alert_change (
	id TEXT PRIMARY KEY,
	alert TEXT NOT NULL,
	at BIGINT NOT NULL
);

CREATE TABLE gov_alert_group (
	id TEXT PRIMARY KEY,
	route TEXT NOT NULL,
	labels TEXT NOT NULL,
	told_at BIGINT NOT NULL,
	due_at BIGINT NOT NULL
);
CREATE INDEX gov_alert_group_due ON gov_alert_group (due_at);

CREATE TABLE gov_alert_entry (
	alert TEXT NOT NULL REFERENCES gov_alert (id),
	route TEXT NOT NULL,
	grp TEXT NOT NULL,
	open BOOLEAN NOT NULL,
	told TEXT NOT NULL,
	severity TEXT NOT NULL,
	told_at BIGINT NOT NULL,
	step INTEGER NOT NULL,
	step_at BIGINT NOT NULL,
	muted TEXT NOT NULL,
	PRIMARY KEY (alert, route)
);
CREATE INDEX gov_alert_entry_grp ON gov_alert_entry (grp, open);

CREATE TABLE gov_alert_notice (
	id TEXT PRIMARY KEY,
	notifier TEXT NOT NULL,
	kind TEXT NOT NULL,
	grp TEXT NOT NULL,
	state TEXT NOT NULL,
	attempts INTEGER NOT NULL,
	tries INTEGER NOT NULL,
	next_at BIGINT NOT NULL,
	error TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	sent_at BIGINT NOT NULL
);
CREATE INDEX gov_alert_notice_due ON gov_alert_notice (state, next_at);
CREATE INDEX gov_alert_notice_at ON gov_alert_notice (created_at);

CREATE TABLE gov_alert_notice_item (
	notice TEXT NOT NULL REFERENCES gov_alert_notice (id),
	alert TEXT NOT NULL REFERENCES gov_alert (id),
	severity TEXT NOT NULL,
	PRIMARY KEY (notice, alert)
);
CREATE INDEX gov_alert_notice_item_alert ON gov_alert_notice_item (alert);

CREATE TABLE gov_alert_attempt (
	notice TEXT NOT NULL REFERENCES gov_alert_notice (id),
	n INTEGER NOT NULL,
	at BIGINT NOT NULL,
	took BIGINT NOT NULL,
	error TEXT NOT NULL,
	PRIMARY KEY (notice, n)
);

CREATE TABLE gov_alert_silence (
	id TEXT PRIMARY KEY,
	matches TEXT NOT NULL,
	author TEXT NOT NULL,
	reason TEXT NOT NULL,
	starts_at BIGINT NOT NULL,
	ends_at BIGINT NOT NULL,
	ended_by TEXT NOT NULL
);
CREATE INDEX gov_alert_silence_end ON gov_alert_silence (ends_at);

-- What waits for delivery in the tables of before is routed anew.
INSERT INTO gov_alert_change (id, alert, at)
SELECT a.id, a.id, a.last_at FROM gov_alert a
WHERE a.state <> 'resolved' AND EXISTS (SELECT 1 FROM gov_alert_delivery d WHERE d.alert = a.id AND d.state = 'waiting');
