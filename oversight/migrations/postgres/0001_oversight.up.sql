CREATE TABLE oversight_session (
	id UUID PRIMARY KEY,
	tenant TEXT NOT NULL,
	user_id TEXT NOT NULL,
	person TEXT NOT NULL,
	actor TEXT NOT NULL,
	subject TEXT NOT NULL,
	scope TEXT NOT NULL,
	reason TEXT NOT NULL,
	ticket TEXT NOT NULL,
	minutes BIGINT NOT NULL,
	state TEXT NOT NULL,
	token_hash TEXT NOT NULL,
	paused_why TEXT NOT NULL,
	ended_why TEXT NOT NULL,
	ended_by TEXT NOT NULL,
	requests BIGINT NOT NULL,
	blocked BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	open_by BIGINT NOT NULL,
	opened_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	seen_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX oversight_session_token ON oversight_session (token_hash) WHERE token_hash <> '';
CREATE UNIQUE INDEX oversight_session_person ON oversight_session (person) WHERE state <> 'ended';
CREATE INDEX oversight_session_created ON oversight_session (created_at, id);
CREATE INDEX oversight_session_tenant ON oversight_session (tenant, created_at);

CREATE TABLE oversight_chunk (
	session UUID NOT NULL REFERENCES oversight_session (id),
	seq BIGINT NOT NULL,
	blob TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	prev TEXT NOT NULL,
	bytes BIGINT NOT NULL,
	frames BIGINT NOT NULL,
	record UUID NOT NULL,
	first_at BIGINT NOT NULL,
	last_at BIGINT NOT NULL,
	PRIMARY KEY (session, seq)
);
