CREATE TABLE gov_event (
	id UUID PRIMARY KEY,
	n BIGINT,
	type TEXT NOT NULL,
	tenant TEXT NOT NULL,
	tenant_version BIGINT NOT NULL,
	tenant_seq BIGINT,
	resource TEXT NOT NULL,
	actor TEXT NOT NULL,
	causation UUID NOT NULL,
	depth INTEGER NOT NULL,
	data TEXT NOT NULL,
	at BIGINT NOT NULL
);
CREATE UNIQUE INDEX gov_event_n ON gov_event (n) WHERE n IS NOT NULL;
CREATE UNIQUE INDEX gov_event_by_tenant ON gov_event (tenant, tenant_seq) WHERE tenant_seq IS NOT NULL;
CREATE INDEX gov_event_new ON gov_event (id) WHERE n IS NULL;

CREATE TABLE gov_event_tenant (
	tenant TEXT PRIMARY KEY,
	last_seq BIGINT NOT NULL
);

CREATE TABLE gov_consumer (
	name TEXT PRIMARY KEY,
	n BIGINT NOT NULL,
	failures INTEGER NOT NULL,
	error TEXT NOT NULL,
	moved_at BIGINT NOT NULL
);
