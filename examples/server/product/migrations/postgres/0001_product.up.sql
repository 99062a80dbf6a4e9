CREATE TABLE product_plan (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	rank BIGINT NOT NULL,
	features TEXT NOT NULL
);

CREATE TABLE product_price (
	plan TEXT NOT NULL REFERENCES product_plan (id),
	currency TEXT NOT NULL,
	minor BIGINT NOT NULL,
	PRIMARY KEY (plan, currency)
);

CREATE TABLE product_subscription (
	tenant TEXT PRIMARY KEY,
	plan TEXT NOT NULL REFERENCES product_plan (id),
	currency TEXT NOT NULL,
	seats BIGINT NOT NULL,
	mrr_minor BIGINT NOT NULL,
	version BIGINT NOT NULL,
	changed_at BIGINT NOT NULL
);

CREATE TABLE product_credit (
	id UUID PRIMARY KEY,
	tenant TEXT NOT NULL,
	minor BIGINT NOT NULL,
	currency TEXT NOT NULL,
	reason TEXT NOT NULL,
	actor TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX product_credit_tenant ON product_credit (tenant, created_at, id);

CREATE TABLE product_user (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL,
	email TEXT NOT NULL,
	name TEXT NOT NULL,
	role TEXT NOT NULL,
	staff TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX product_user_tenant ON product_user (tenant, id);

CREATE TABLE product_document (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL,
	title TEXT NOT NULL,
	body TEXT NOT NULL,
	author TEXT NOT NULL,
	version BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX product_document_tenant ON product_document (tenant, id);

CREATE TABLE product_export (
	id UUID PRIMARY KEY,
	tenant TEXT NOT NULL,
	dataset TEXT NOT NULL,
	person TEXT NOT NULL,
	reason TEXT NOT NULL,
	rows BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	sha256 TEXT NOT NULL,
	blob TEXT NOT NULL,
	made_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX product_export_tenant ON product_export (tenant, made_at, id);
CREATE INDEX product_export_kept ON product_export (expires_at) WHERE blob <> '';
