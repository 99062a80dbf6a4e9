CREATE TABLE server_secret (
	name TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
