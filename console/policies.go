package console

func policiesSection() Section { return Section{Name: "policies"} }
