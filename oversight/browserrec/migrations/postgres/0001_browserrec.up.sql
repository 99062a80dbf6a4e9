CREATE TABLE browserrec_page (
	id TEXT PRIMARY KEY,
	session TEXT NOT NULL,
	path TEXT NOT NULL,
	tab TEXT NOT NULL,
	state TEXT NOT NULL,
	n BIGINT NOT NULL,
	last_hash TEXT NOT NULL,
	lost BIGINT NOT NULL,
	told BOOLEAN NOT NULL,
	issued_at BIGINT NOT NULL,
	seen_at BIGINT NOT NULL
);
CREATE INDEX browserrec_page_session ON browserrec_page (session, issued_at, id);

CREATE TABLE browserrec_chunk (
	session TEXT NOT NULL,
	seq BIGINT NOT NULL,
	page TEXT NOT NULL REFERENCES browserrec_page (id),
	n BIGINT NOT NULL,
	lost BIGINT NOT NULL,
	blob TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	prev TEXT NOT NULL,
	bytes BIGINT NOT NULL,
	events BIGINT NOT NULL,
	masked BIGINT NOT NULL,
	record TEXT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (session, seq)
);
CREATE UNIQUE INDEX browserrec_chunk_page ON browserrec_chunk (page, n);

CREATE TABLE browserrec_kit (
	digest TEXT PRIMARY KEY,
	record TEXT NOT NULL,
	at BIGINT NOT NULL
);
