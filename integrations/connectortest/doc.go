// Package connectortest proves a connector plugin. It drives the built program over
// the real wire, through plugins/host and through plain go-plugin, and looks at the
// vendor from the other side:
//
//	func TestConformance(t *testing.T) {
//		connectortest.Run(t, connectortest.Plugin{
//			Path:     connectortest.Build(t, "."),
//			Settings: connector.Config{"url": fake.URL, "token": "s3cr3t-token"},
//			Vendor:   connectortest.Vendor{Accounts: fake.CountByTenant, Slow: fake.Slow, Fail: fake.Fail},
//		})
//	}
//
// The vendor is the author's own fake of it, or a test account of the real one; without
// Slow or Fail the tests that need them are left out, and the log says so. [Sandbox]
// starts the sandbox vendor.
//
// What is proved: the descriptor and its settings; that secrets show up in no output;
// that writes are idempotent, that an older state never overwrites a newer one, that one
// bad record fails alone; that capabilities not offered are refused; that deadlines
// hold; that a plugin killed in the middle of a batch loses and doubles nothing when
// the batch comes again; that pages are complete; that tickets are opened once.
package connectortest
