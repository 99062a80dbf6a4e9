// Package alerting carries alerts outside: to a webhook of one's own, to Slack, to
// PagerDuty, by e-mail.
//
// Start with [NewWebhook], [NewSlack], [NewPagerDuty] or [NewSMTP], and put the result
// into governance.Options.Notifiers. The kernel retries what was not taken, and an
// alert that nobody takes becomes an alert itself. All of them go through the guarded
// client of package outgoing, so that an address which somebody configured does not
// reach into the network of the server, and none of their errors repeats an address,
// a secret or an answer, because errors are stored and shown.
//
// What is sent is the title, body, severity and links of each alert of a notice, and
// later that somebody has it in hand, or that it is over. Slack and mail get one message
// for a group; PagerDuty an incident for each alert, opened, acknowledged and resolved
// by one dedup key; a webhook a request for each alert. A receiver tells repeated tries
// apart from new notices by the id of the message.
//
// No errors of its own, no tables, no metrics. Everything is safe for concurrent use.
package alerting
