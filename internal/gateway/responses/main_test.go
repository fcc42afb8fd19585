package responses

import (
	"testing"

	"processor/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
