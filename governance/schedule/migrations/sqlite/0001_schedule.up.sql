CREATE TABLE gov_schedule (
	name TEXT PRIMARY KEY,
	next_at BIGINT NOT NULL,
	last_at BIGINT NOT NULL,
	error TEXT NOT NULL
);
