CREATE TABLE analytics_batch (
	id UUID PRIMARY KEY,
	format TEXT NOT NULL,
	facts INTEGER NOT NULL,
	added INTEGER NOT NULL,
	corrected INTEGER NOT NULL,
	duplicate INTEGER NOT NULL,
	late INTEGER NOT NULL,
	digest TEXT NOT NULL,
	actor TEXT NOT NULL,
	recorded_at BIGINT NOT NULL
);
CREATE INDEX analytics_batch_recorded ON analytics_batch (recorded_at);

CREATE TABLE analytics_fact (
	id UUID PRIMARY KEY,
	source TEXT NOT NULL,
	key TEXT NOT NULL,
	revision INTEGER NOT NULL,
	version BIGINT NOT NULL,
	sequence BIGINT NOT NULL,
	digest TEXT NOT NULL,
	kind TEXT NOT NULL,
	tenant TEXT NOT NULL,
	subscription TEXT NOT NULL,
	plan TEXT NOT NULL,
	metric TEXT NOT NULL,
	ref TEXT NOT NULL,
	quantity BIGINT NOT NULL,
	amount BIGINT NOT NULL,
	currency TEXT NOT NULL,
	rate BIGINT NOT NULL,
	day INTEGER NOT NULL,
	at BIGINT NOT NULL,
	due INTEGER NOT NULL,
	cancelled BOOLEAN NOT NULL,
	void BOOLEAN NOT NULL,
	batch UUID NOT NULL,
	recorded_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX analytics_fact_source ON analytics_fact (source, key, revision);
CREATE INDEX analytics_fact_kind ON analytics_fact (kind, day, tenant);
CREATE INDEX analytics_fact_tenant ON analytics_fact (tenant, kind, day);

CREATE TABLE analytics_source (
	source TEXT NOT NULL,
	kind TEXT NOT NULL,
	metric TEXT NOT NULL,
	PRIMARY KEY (source, kind, metric)
);

CREATE TABLE analytics_refresh (
	gen BIGINT PRIMARY KEY,
	id UUID NOT NULL UNIQUE,
	state TEXT NOT NULL,
	actor TEXT NOT NULL,
	reason TEXT NOT NULL,
	through INTEGER NOT NULL,
	as_of BIGINT NOT NULL,
	body TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL
);
CREATE INDEX analytics_refresh_state ON analytics_refresh (state, gen);
