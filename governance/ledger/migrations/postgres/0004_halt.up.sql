-- Why a log signs nothing: somebody outside knows another past of it. What the log itself signed settles it, and only another name goes on from there.
CREATE TABLE gov_log_halt (
	vkey TEXT PRIMARY KEY,
	reason TEXT NOT NULL,
	proof TEXT NOT NULL,
	at BIGINT NOT NULL
);

CREATE TRIGGER gov_log_halt_guard BEFORE UPDATE OR DELETE ON gov_log_halt FOR EACH ROW WHEN (OLD.proof <> '') EXECUTE FUNCTION gov_append_only();
