package uistream

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// run is what a client comes back for: a turn, a message in the queue whose turn has no number yet, or neither, which is the chat's newest turn.
type run struct {
	chat   chat.ID
	turn   int
	client string
}

func (r run) whole() bool { return r.turn == 0 && r.client == "" }

// String is the run's id. The dot is in no chat's id, so nothing else is named like it.
func (r run) String() string {
	switch {
	case r.turn > 0:
		return string(r.chat) + "." + strconv.Itoa(r.turn)
	case r.client != "":
		return string(r.chat) + ".q" + base64.RawURLEncoding.EncodeToString([]byte(r.client))
	default:
		return string(r.chat)
	}
}

func parseRun(s string) (run, error) {
	id, rest, named := strings.Cut(s, ".")
	r := run{chat: chat.ID(id)}
	if err := chat.CheckID("chat", id); err != nil || !named {
		return r, err
	}
	if coded, ok := strings.CutPrefix(rest, "q"); ok {
		client, err := base64.RawURLEncoding.DecodeString(coded)
		if r.client = string(client); err == nil && r.client != "" {
			return r, nil
		}
	} else if turn, err := strconv.Atoi(rest); err == nil && turn > 0 {
		r.turn = turn
		return r, nil
	}
	return r, errNoRun(r)
}

func errNoRun(r run) error {
	return chat.Errorf(chat.NotFound, "run", "there is no such run of chat %q", string(r.chat))
}

// open sets the protocol's headers and begins the stream.
func (s *Server) open(w http.ResponseWriter, r *http.Request, at place) (*wire.Stream, error) {
	h := w.Header()
	h.Set("X-Vercel-Ai-Ui-Message-Stream", "v1")
	h.Set("X-Workflow-Run-Id", at.run.String())
	if at.tail != nil {
		h.Set("X-Workflow-Stream-Tail-Index", strconv.Itoa(*at.tail))
	}
	return s.kit.Open(w, r)
}
