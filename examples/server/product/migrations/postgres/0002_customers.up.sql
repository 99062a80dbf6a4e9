ALTER TABLE product_user ADD COLUMN seen_at BIGINT NOT NULL DEFAULT 0;

CREATE TABLE product_invoice (
	number TEXT PRIMARY KEY,
	tenant TEXT NOT NULL,
	minor BIGINT NOT NULL,
	currency TEXT NOT NULL,
	paid BOOLEAN NOT NULL,
	issued_at BIGINT NOT NULL
);
CREATE INDEX product_invoice_tenant ON product_invoice (tenant, issued_at, number);

CREATE TABLE product_api_key (
	id UUID PRIMARY KEY,
	tenant TEXT NOT NULL,
	name TEXT NOT NULL,
	hash TEXT NOT NULL,
	made_by TEXT NOT NULL,
	made_at BIGINT NOT NULL
);
CREATE INDEX product_api_key_tenant ON product_api_key (tenant, made_at);

CREATE TABLE product_payout (
	tenant TEXT PRIMARY KEY,
	holder TEXT NOT NULL,
	iban TEXT NOT NULL,
	changed_by TEXT NOT NULL,
	changed_at BIGINT NOT NULL
);
