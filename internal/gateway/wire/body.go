package wire

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"processor/internal/chat"
)

// MaxBody is enough for every request whose text is within the limits, however its JSON is escaped.
const MaxBody = 4 << 20

// Body reads the whole body, which may have any content type: published clients send JSON as text/plain. More than limit bytes are too large, and
// one that does not arrive within BodyTimeout is malformed.
func (k *Kit) Body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit && r.Header.Get("Expect") != "" {
		return nil, tooLong(limit) // it asks before it sends; who does not would miss the answer while it still writes
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(k.config.BodyTimeout)); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, tooLong(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, chat.Errorf(chat.Malformed, "", "the request's body did not arrive within %s", k.config.BodyTimeout)
	case err != nil:
		return nil, chat.Errorf(chat.Malformed, "", "the request's body did not arrive whole")
	}
	// A deadline that stayed would later end the request's context in mid-stream.
	return raw, control.SetReadDeadline(time.Time{})
}

func tooLong(limit int64) error {
	return chat.Errorf(chat.TooLarge, "", "the request's body has more than %d bytes", limit)
}

// Read decodes a body of at most MaxBody strictly: one JSON object without unknown fields. No body is an empty object.
func (k *Kit) Read(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := k.Body(w, r, MaxBody)
	if err != nil {
		return err
	}
	return chat.Unmarshal(raw, v)
}
