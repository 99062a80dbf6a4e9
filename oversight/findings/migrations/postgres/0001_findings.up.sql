CREATE TABLE finding_state (
	name TEXT PRIMARY KEY,
	n BIGINT NOT NULL
);
INSERT INTO finding_state (name, n) VALUES ('read', 0), ('judged', 0);

CREATE TABLE finding_act (
	n BIGINT PRIMARY KEY,
	record TEXT NOT NULL,
	at BIGINT NOT NULL,
	who TEXT NOT NULL,
	person BOOLEAN NOT NULL,
	action TEXT NOT NULL,
	tenant TEXT NOT NULL,
	outcome TEXT NOT NULL,
	action_id TEXT NOT NULL
);
CREATE INDEX finding_act_who ON finding_act (who, action, at);
CREATE INDEX finding_act_at ON finding_act (who, at);
CREATE INDEX finding_act_action ON finding_act (action, at);
CREATE INDEX finding_act_held ON finding_act (action_id) WHERE outcome = 'held';

CREATE TABLE finding_pair (
	who TEXT NOT NULL,
	dimension TEXT NOT NULL,
	value TEXT NOT NULL,
	n BIGINT NOT NULL,
	at BIGINT NOT NULL,
	PRIMARY KEY (who, dimension, value)
);
CREATE INDEX finding_pair_n ON finding_pair (n);

CREATE TABLE finding_limit (
	n BIGINT NOT NULL,
	i BIGINT NOT NULL,
	at BIGINT NOT NULL,
	who TEXT NOT NULL,
	tenant TEXT NOT NULL,
	rule TEXT NOT NULL,
	budget TEXT NOT NULL,
	unit TEXT NOT NULL,
	amount BIGINT NOT NULL,
	total BIGINT NOT NULL,
	most BIGINT NOT NULL,
	span BIGINT NOT NULL,
	PRIMARY KEY (n, i)
);
CREATE INDEX finding_limit_rule ON finding_limit (rule, at);

CREATE TABLE finding_vote (
	n BIGINT PRIMARY KEY,
	at BIGINT NOT NULL,
	voter TEXT NOT NULL,
	requester TEXT NOT NULL,
	decision TEXT NOT NULL,
	spare BIGINT NOT NULL
);
CREATE INDEX finding_vote_at ON finding_vote (at);
CREATE INDEX finding_vote_voter ON finding_vote (voter, at);

CREATE TABLE finding (
	id TEXT PRIMARY KEY,
	key TEXT NOT NULL UNIQUE,
	kind TEXT NOT NULL,
	severity TEXT NOT NULL,
	who TEXT NOT NULL,
	others TEXT NOT NULL,
	tenant TEXT NOT NULL,
	title TEXT NOT NULL,
	dimension TEXT NOT NULL,
	baseline TEXT NOT NULL,
	value TEXT NOT NULL,
	acts TEXT NOT NULL,
	act_count BIGINT NOT NULL,
	at BIGINT NOT NULL,
	state TEXT NOT NULL,
	reason TEXT NOT NULL,
	decided_by TEXT NOT NULL,
	decided_at BIGINT NOT NULL,
	version BIGINT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX finding_at ON finding (at, id);
CREATE INDEX finding_standing ON finding (state, severity, who);
