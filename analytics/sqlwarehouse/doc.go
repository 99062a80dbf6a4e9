// Package sqlwarehouse keeps the marts of analytics beside everything else, in the
// same SQLite or PostgreSQL database.
//
// Start with [New]. A generation is written in short transactions, so that other
// writers on SQLite wait for milliseconds only. Sums are SQL that both engines read
// alike. Tables: analytics_mart_segment, analytics_mart_movement,
// analytics_mart_month, analytics_mart_rate, analytics_mart_cohort,
// analytics_mart_revenue, analytics_mart_usage, analytics_mart_forecast.
//
// A [Warehouse] is safe for concurrent use.
package sqlwarehouse
