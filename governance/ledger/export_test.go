package ledger

// SetCatchUp makes a seal take the tenants' sequences on by n leaves at most.
func (l *Log) SetCatchUp(n int64) { l.catchUp = n }
