package govtest

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

type recordBody struct {
	Action  string `json:"action"`
	Outcome string `json:"outcome"`
}

func decodeBody(t testing.TB, b []byte) recordBody {
	t.Helper()
	var out recordBody
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}
