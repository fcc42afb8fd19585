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

// freeBody is how long a body may be that does not count against Config.BodyMemory: no longer than what a connection costs anyway.
const freeBody = 64 << 10

// Body reads the whole body, which may have any content type: published clients send JSON as text/plain. More than limit bytes are too large, and
// one that does not arrive within BodyTimeout is malformed. While many long ones arrive at once, another long one is unavailable.
func (k *Kit) Body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit && r.Header.Get("Expect") != "" {
		return nil, tooLong(limit) // it asks before it sends; who does not would miss the answer while it still writes
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(k.config.BodyTimeout)); err != nil {
		return nil, err
	}
	raw, err := k.gather(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	var busy *chat.Error
	switch {
	case errors.As(err, &busy):
		return nil, err
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

// gather is io.ReadAll, but what it holds is counted while it reads: senders take their time, and many of them would fill the memory.
func (k *Kit) gather(r io.Reader) ([]byte, error) {
	raw, counted := make([]byte, 0, 512), int64(0)
	defer func() { k.arriving.Add(-counted) }()
	for {
		if len(raw) == cap(raw) {
			longer := 2 * cap(raw)
			if more := int64(longer) - counted; longer > freeBody {
				counted += more
				if k.arriving.Add(more) > k.config.BodyMemory {
					return nil, chat.Errorf(chat.Unavailable, "", "too many long requests arrive here at once, try again")
				}
			}
			raw = append(make([]byte, 0, longer), raw...)
		}
		n, err := r.Read(raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		if errors.Is(err, io.EOF) {
			return raw, nil
		}
		if err != nil {
			return nil, err
		}
	}
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
