ALTER TABLE oversight_session ADD COLUMN observer BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE oversight_session ADD COLUMN paused_by TEXT NOT NULL DEFAULT '';
ALTER TABLE oversight_session ADD COLUMN paused_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE oversight_session ADD COLUMN review_due BIGINT NOT NULL DEFAULT 0;
ALTER TABLE oversight_session ADD COLUMN review_told BIGINT NOT NULL DEFAULT 0;
ALTER TABLE oversight_session ADD COLUMN reviewed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE oversight_session ADD COLUMN reviewed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE oversight_session ADD COLUMN verdict TEXT NOT NULL DEFAULT '';
ALTER TABLE oversight_session ADD COLUMN review_note TEXT NOT NULL DEFAULT '';
CREATE INDEX oversight_session_review ON oversight_session (review_due) WHERE review_due > 0 AND reviewed_at = 0;

CREATE TABLE oversight_observer (
	session UUID NOT NULL REFERENCES oversight_session (id),
	person TEXT NOT NULL,
	actor TEXT NOT NULL,
	since BIGINT NOT NULL,
	seen_at BIGINT NOT NULL,
	left_at BIGINT NOT NULL,
	PRIMARY KEY (session, person)
);
