ALTER TABLE product_invoice ADD COLUMN refunded_minor BIGINT NOT NULL DEFAULT 0;

CREATE TABLE product_refund (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL,
	invoice TEXT NOT NULL,
	minor BIGINT NOT NULL,
	currency TEXT NOT NULL,
	reason TEXT NOT NULL,
	actor TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX product_refund_tenant ON product_refund (tenant, created_at, id);
