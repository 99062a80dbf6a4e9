-- Why a log signs nothing: somebody outside knows another past of it. What the log itself signed settles it, and only another name goes on from there.
CREATE TABLE gov_log_halt (
	vkey TEXT PRIMARY KEY,
	reason TEXT NOT NULL,
	proof TEXT NOT NULL,
	at BIGINT NOT NULL
);

-- begin
CREATE TRIGGER gov_log_halt_delete BEFORE DELETE ON gov_log_halt WHEN OLD.proof <> ''
BEGIN
	SELECT RAISE(ABORT, 'gov_log_halt: what the log signed cannot be taken back');
END
-- end

-- begin
CREATE TRIGGER gov_log_halt_update BEFORE UPDATE ON gov_log_halt WHEN OLD.proof <> ''
BEGIN
	SELECT RAISE(ABORT, 'gov_log_halt: what the log signed cannot be taken back');
END
-- end
