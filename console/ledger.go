package console

func ledgerSection() Section { return Section{Name: "ledger"} }
