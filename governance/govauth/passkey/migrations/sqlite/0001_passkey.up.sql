CREATE TABLE passkey_key (
	id TEXT PRIMARY KEY,
	person TEXT NOT NULL,
	name TEXT NOT NULL,
	credential TEXT NOT NULL UNIQUE,
	public_key TEXT NOT NULL,
	rp_id TEXT NOT NULL,
	aaguid TEXT NOT NULL,
	transports TEXT NOT NULL,
	synced BOOLEAN NOT NULL,
	sign_count BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	revoked_at BIGINT NOT NULL,
	compromised_at BIGINT NOT NULL
);
CREATE INDEX passkey_key_person ON passkey_key (person);

CREATE TABLE passkey_challenge (
	challenge TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	person TEXT NOT NULL,
	approval TEXT NOT NULL,
	decision TEXT NOT NULL,
	digest TEXT NOT NULL,
	nonce TEXT NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);
