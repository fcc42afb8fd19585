package wire

import (
	"context"
	"errors"
	"net/http"
	"time"

	"processor/internal/chat"
)

// Write answers with JSON.
func (k *Kit) Write(w http.ResponseWriter, status int, v any) error {
	raw, err := chat.Marshal(v)
	if err != nil {
		return err
	}
	// Who does not read the answer is dropped. A writer without deadlines is a test's.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(k.config.BodyTimeout))
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err = w.Write(raw); err != nil {
		return nil //nolint:nilerr // the caller has gone, there is nobody to tell
	}
	return nil
}

// Handle makes a handler of f, whose error is answered in the API's own form. An f that has begun to answer returns nil: what
// went wrong after that is nobody's to be told. Protocols with another form of errors say it with Refusal.
func (k *Kit) Handle(f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			k.Refuse(w, r, err)
		}
	})
}

// Refuse answers with the error in the API's own form: {"error":{"code","message","field?"}}.
func (k *Kit) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := k.Refusal(r, err)
	RetryAfter(w, e)
	if err := k.Write(w, e.Code.Status(), errorBody{e}); err != nil {
		k.config.Logger.Error("error not encoded", "err", err)
	}
}

type errorBody struct {
	Error *chat.Error `json:"error"`
}

// RetryAfter sets the header for what may succeed a moment later.
func RetryAfter(w http.ResponseWriter, e *chat.Error) {
	if e.Code == chat.Full || e.Code == chat.Unavailable {
		w.Header().Set("Retry-After", "1")
	}
}

// Refusal is what a caller is told of err. What is not meant for callers is logged here, once, and they get a sentence that tells nothing.
func (k *Kit) Refusal(r *http.Request, err error) *chat.Error {
	var e *chat.Error
	if errors.As(err, &e) {
		return e
	}
	if r.Context().Err() == nil || !errors.Is(err, context.Canceled) {
		k.config.Logger.Error("request failed", "method", r.Method, "path", r.Pattern, "err", err)
	}
	return chat.Errorf(chat.Unavailable, "", "the request failed here, try again")
}
