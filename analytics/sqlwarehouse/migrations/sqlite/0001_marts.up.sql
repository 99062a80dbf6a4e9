CREATE TABLE analytics_mart_segment (
	gen BIGINT NOT NULL,
	tenant TEXT NOT NULL,
	subscription TEXT NOT NULL,
	from_day INTEGER NOT NULL,
	to_day INTEGER NOT NULL,
	plan TEXT NOT NULL,
	quantity BIGINT NOT NULL,
	amount BIGINT NOT NULL,
	currency TEXT NOT NULL,
	facts TEXT NOT NULL,
	fact_count INTEGER NOT NULL,
	PRIMARY KEY (gen, tenant, subscription, from_day)
);

CREATE TABLE analytics_mart_movement (
	gen BIGINT NOT NULL,
	tenant TEXT NOT NULL,
	subscription TEXT NOT NULL,
	day INTEGER NOT NULL,
	line TEXT NOT NULL,
	month INTEGER NOT NULL,
	delta BIGINT NOT NULL,
	before_amount BIGINT NOT NULL,
	before_currency TEXT NOT NULL,
	after_amount BIGINT NOT NULL,
	after_currency TEXT NOT NULL,
	value_before BIGINT NOT NULL,
	value_after BIGINT NOT NULL,
	rate_before BIGINT NOT NULL,
	rate_after BIGINT NOT NULL,
	PRIMARY KEY (gen, tenant, subscription, day, line)
);
CREATE INDEX analytics_mart_movement_day ON analytics_mart_movement (gen, day, line);

CREATE TABLE analytics_mart_month (
	gen BIGINT NOT NULL,
	month INTEGER NOT NULL,
	complete BOOLEAN NOT NULL,
	opening BIGINT NOT NULL,
	new_mrr BIGINT NOT NULL,
	expansion BIGINT NOT NULL,
	contraction BIGINT NOT NULL,
	churn BIGINT NOT NULL,
	reactivation BIGINT NOT NULL,
	fx BIGINT NOT NULL,
	closing BIGINT NOT NULL,
	logos_opening INTEGER NOT NULL,
	logos_new INTEGER NOT NULL,
	logos_churned INTEGER NOT NULL,
	logos_reactivated INTEGER NOT NULL,
	logos_closing INTEGER NOT NULL,
	has_retention BOOLEAN NOT NULL,
	ret_start BIGINT NOT NULL,
	ret_now BIGINT NOT NULL,
	ret_kept BIGINT NOT NULL,
	ret_logos INTEGER NOT NULL,
	ret_stayed INTEGER NOT NULL,
	PRIMARY KEY (gen, month)
);

CREATE TABLE analytics_mart_rate (
	gen BIGINT NOT NULL,
	month INTEGER NOT NULL,
	currency TEXT NOT NULL,
	micro BIGINT NOT NULL,
	day INTEGER NOT NULL,
	PRIMARY KEY (gen, month, currency)
);

CREATE TABLE analytics_mart_cohort (
	gen BIGINT NOT NULL,
	basis TEXT NOT NULL,
	currency TEXT NOT NULL,
	cohort INTEGER NOT NULL,
	age INTEGER NOT NULL,
	size INTEGER NOT NULL,
	base BIGINT NOT NULL,
	logos INTEGER NOT NULL,
	amount BIGINT NOT NULL,
	PRIMARY KEY (gen, basis, currency, cohort, age)
);

CREATE TABLE analytics_mart_revenue (
	gen BIGINT NOT NULL,
	month INTEGER NOT NULL,
	kind TEXT NOT NULL,
	currency TEXT NOT NULL,
	amount BIGINT NOT NULL,
	facts INTEGER NOT NULL,
	tenants INTEGER NOT NULL,
	PRIMARY KEY (gen, month, kind, currency)
);

CREATE TABLE analytics_mart_usage (
	gen BIGINT NOT NULL,
	tenant TEXT NOT NULL,
	metric TEXT NOT NULL,
	month INTEGER NOT NULL,
	quantity BIGINT NOT NULL,
	facts INTEGER NOT NULL,
	PRIMARY KEY (gen, tenant, metric, month)
);

CREATE TABLE analytics_mart_forecast (
	gen BIGINT PRIMARY KEY,
	body TEXT NOT NULL
);
