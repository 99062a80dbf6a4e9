package console

func tenantsSection(_ *console) Section { return Section{Name: "tenants"} }
