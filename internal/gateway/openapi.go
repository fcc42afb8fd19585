package gateway

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var document []byte

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=60")
	_, _ = w.Write(document)
}
