// Package alertroute decides where alerts go: which route takes an alert, with which
// others it makes one message, what mutes it, and what of its text may leave.
//
// Start with [Document.For]. It knows no kernel: it takes [Facts] of an alert and
// holds no state. The kernel keeps the tables that [Schema] makes and turns the
// decisions into notices. The words and the figures (group_wait, group_interval,
// repeat_interval, inhibition, silence) are those of Prometheus Alertmanager.
//
// No errors of its own: [Document.Faults] and [Match.Faults] name what is wrong with a
// document. Tables: gov_alert_route, gov_alert_change, gov_alert_group,
// gov_alert_entry, gov_alert_notice, gov_alert_notice_item, gov_alert_attempt,
// gov_alert_silence. Safe for concurrent use.
package alertroute
