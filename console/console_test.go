package console

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govtest"
)

func TestKernelStories(t *testing.T) {
	t.Parallel()
	env := govtest.New(t, nil)
	c := &console{opts: Options{Kernel: env.Kernel, Stories: true}, kernel: env.Kernel}
	for _, s := range c.kernelSections() {
		if len(s.Stories) == 0 {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			h, err := New(&Options{Kernel: env.Kernel, Stories: true})
			require.NoError(t, err)
			env.People.Put("sam", "root")
			b := browse(t, h, env.As("sam"))
			for i, st := range s.Stories {
				want := st.View.Status
				if want == 0 {
					want = http.StatusOK
				}
				requireMarkup(t, b.get("/_stories/"+s.Name+"/"+text(i), want).body)
			}
		})
	}
}
