// Package console is a page on which a person sees chats being answered, and takes part. It is a client of the HTTP API like any other, in plain
// JavaScript modules that the browser loads as they are here: no step builds them.
//
// What a model or a user wrote is shown as text and never becomes markup: the scripts know no way to do so, and the page's policy allows no
// inline script, no style and no host but its own. The page itself is everybody's; what it shows takes the API's token, which it asks for and keeps
// for as long as its tab lives.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

// Prefix is the path below which the page's parts are; the page itself is at "/".
const Prefix = "/console/"

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed assets
var assets embed.FS

// Register serves the page at "/" and its parts below Prefix. Neither wants a token.
func Register(mux *http.ServeMux) error {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		at := Prefix + name
		if name == "index.html" {
			at = "/{$}"
		}
		mux.Handle("GET "+at, asset(name, body))
		return nil
	})
}

// asset serves one file. A browser keeps it and asks each time whether it has changed, so a rollout is never seen half.
func asset(name string, body []byte) http.Handler {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	kind := mime.TypeByExtension(path.Ext(name))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", kind)
		header.Set("ETag", tag)
		header.Set("Cache-Control", "no-cache")
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		r.Header.Del("Range") // they are small, and a broken range is no reason to refuse
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	})
}
