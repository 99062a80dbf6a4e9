CREATE TABLE auth_user (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	email TEXT NOT NULL,
	roles TEXT NOT NULL,
	region TEXT NOT NULL,
	state TEXT NOT NULL,
	version BIGINT NOT NULL,
	invited_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	deactivated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX auth_user_email ON auth_user (email) WHERE email <> '';

CREATE TABLE auth_invitation (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	email TEXT NOT NULL,
	roles TEXT NOT NULL,
	region TEXT NOT NULL,
	state TEXT NOT NULL,
	invited_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	closed_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX auth_invitation_email ON auth_invitation (email) WHERE state = 'open';

CREATE TABLE auth_link (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	person TEXT NOT NULL,
	hash TEXT NOT NULL,
	created_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	used_at BIGINT NOT NULL
);
CREATE INDEX auth_link_by_person ON auth_link (person);

CREATE TABLE auth_key (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	person TEXT NOT NULL,
	name TEXT NOT NULL,
	roles TEXT NOT NULL,
	hash TEXT NOT NULL,
	created_by TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	issued_at BIGINT NOT NULL,
	revoked_at BIGINT NOT NULL,
	used_at BIGINT NOT NULL
);
CREATE INDEX auth_key_by_person ON auth_key (person);

CREATE TABLE auth_session (
	id TEXT PRIMARY KEY,
	hash TEXT NOT NULL,
	person TEXT NOT NULL,
	method TEXT NOT NULL,
	ip TEXT NOT NULL,
	user_agent TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	seen_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL
);
CREATE INDEX auth_session_by_person ON auth_session (person);

CREATE TABLE auth_state (
	name TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO auth_state (name, value) VALUES ('people', 0);
