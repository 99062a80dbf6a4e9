-- How far each tenant's own sequence has come. It is derived from the records, so it may be deleted and is made again.
CREATE TABLE gov_tenant_head (
	tenant TEXT PRIMARY KEY,
	seq BIGINT NOT NULL,
	n BIGINT NOT NULL,
	chain BYTEA NOT NULL
);
