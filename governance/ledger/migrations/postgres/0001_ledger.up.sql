CREATE TABLE gov_record (
	id UUID PRIMARY KEY,
	n BIGINT,
	tenant TEXT NOT NULL,
	kind TEXT NOT NULL,
	body TEXT NOT NULL,
	digest BYTEA NOT NULL,
	at BIGINT NOT NULL
);
CREATE UNIQUE INDEX gov_record_n ON gov_record (n) WHERE n IS NOT NULL;
CREATE INDEX gov_record_new ON gov_record (id) WHERE n IS NULL;
CREATE INDEX gov_record_tenant ON gov_record (tenant, id);

CREATE TABLE gov_disclosure (
	record UUID NOT NULL,
	field TEXT NOT NULL,
	salt BYTEA NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (record, field)
);

CREATE TABLE gov_hash (
	idx BIGINT PRIMARY KEY,
	hash BYTEA NOT NULL
);

CREATE TABLE gov_checkpoint (
	size BIGINT PRIMARY KEY,
	root BYTEA NOT NULL,
	note TEXT NOT NULL,
	at BIGINT NOT NULL
);

-- begin
CREATE FUNCTION gov_record_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.n IS NULL THEN
		IF TG_OP = 'DELETE' THEN
			RAISE EXCEPTION 'gov_record: a record that waits for its seal cannot be deleted';
		END IF;
		IF NEW.id <> OLD.id OR NEW.body <> OLD.body OR NEW.digest <> OLD.digest OR NEW.tenant <> OLD.tenant OR NEW.at <> OLD.at THEN
			RAISE EXCEPTION 'gov_record: a record cannot be changed';
		END IF;
		RETURN NEW;
	END IF;
	RAISE EXCEPTION 'gov_record: a sealed record cannot be changed or deleted';
END $$;
-- end

CREATE TRIGGER gov_record_guard BEFORE UPDATE OR DELETE ON gov_record FOR EACH ROW EXECUTE FUNCTION gov_record_guard();

-- begin
CREATE FUNCTION gov_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%: rows cannot be changed or deleted', TG_TABLE_NAME;
END $$;
-- end

CREATE TRIGGER gov_hash_guard BEFORE UPDATE OR DELETE ON gov_hash FOR EACH ROW EXECUTE FUNCTION gov_append_only();
CREATE TRIGGER gov_checkpoint_guard BEFORE UPDATE OR DELETE ON gov_checkpoint FOR EACH ROW EXECUTE FUNCTION gov_append_only();
