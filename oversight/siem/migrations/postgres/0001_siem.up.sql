-- A sink's cursor: the next leaf it has not taken. batch_to fixes the end of a batch before
-- it is sent, so that a batch sent again is the same batch.
CREATE TABLE siem_sink (
	name TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	target TEXT NOT NULL,
	state TEXT NOT NULL,
	next BIGINT NOT NULL,
	batch_to BIGINT NOT NULL,
	alert_at BIGINT NOT NULL,
	failures BIGINT NOT NULL,
	error TEXT NOT NULL,
	next_at BIGINT NOT NULL,
	sent_at BIGINT NOT NULL,
	paused_by TEXT NOT NULL,
	paused_why TEXT NOT NULL,
	paused_at BIGINT NOT NULL,
	created_at BIGINT NOT NULL
);

-- What a sink was told of an alert, as far back as an alert may still come late.
CREATE TABLE siem_alert (
	sink TEXT NOT NULL,
	alert UUID NOT NULL,
	told TEXT NOT NULL,
	last_at BIGINT NOT NULL,
	PRIMARY KEY (sink, alert)
);
