package console

func searchSection(_ *console) Section { return Section{Name: "search"} }
