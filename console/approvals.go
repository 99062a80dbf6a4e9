package console

func approvalsSection() Section { return Section{Name: "approvals"} }
