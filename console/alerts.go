package console

func alertsSection() Section { return Section{Name: "alerts"} }
