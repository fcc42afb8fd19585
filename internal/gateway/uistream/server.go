package uistream

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// Commands are what clients may have done.
type Commands interface {
	Create(ctx context.Context, r chat.CreateRequest) (chat.CreateReply, error)
	Send(ctx context.Context, r chat.SendRequest) (chat.SendReply, error)
	Interrupt(ctx context.Context, r chat.InterruptRequest) (chat.ChatReply, error)
	Truncate(ctx context.Context, r chat.TruncateRequest) (chat.TruncateReply, error)
}

// Service is what the protocol needs of it.
type Service interface {
	Commands
	Find(ctx context.Context, r chat.FindRequest) (chat.FindReply, error)
	Before(ctx context.Context, r chat.TurnRequest) (chat.TurnReply, error)
}

var _ Service = (*chat.Service)(nil)

// Config has the protocol's settings; the zero value is usable.
type Config struct {
	// Compare is how often a stream compares with the row (chat.DefaultTiming).
	Compare time.Duration
	Logger  *slog.Logger
}

// Server answers the protocol's requests.
type Server struct {
	service Service
	feed    chat.Feed
	kit     *wire.Kit
	config  Config
}

// New makes a server.
func New(service Service, feed chat.Feed, kit *wire.Kit, config Config) *Server {
	if config.Compare == 0 {
		config.Compare = chat.DefaultTiming().Compare
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{service: service, feed: feed, kit: kit, config: config}
}

// Register mounts the protocol.
func (s *Server) Register(mux *http.ServeMux) {
	mux.Handle("POST /api/chat", s.handle(s.post))
	mux.Handle("GET /api/chat/{run}/stream", s.handle(s.resume))
	mux.Handle("POST /api/chat/{chat}/stop", s.handle(s.stop))
}

// handle answers errors as the clients want them: the body's text is what they throw.
func (s *Server) handle(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil {
			return
		}
		e := s.kit.Refusal(r, err)
		wire.RetryAfter(w, e)
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, e.Message, e.Code.Status())
	})
}

// deadline bounds a command. A client that leaves does not end it: what it asked for may be half done.
const deadline = 10 * time.Second

func bounded(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), deadline)
}

// post accepts the last message of the request and streams its answer.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	raw, err := s.kit.Body(w, r, maxBody)
	if err != nil {
		return err
	}
	p, err := readPost(raw)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(r)
	defer cancel()
	at, err := s.accept(ctx, p)
	if err != nil {
		return err
	}
	at.steady = p.Reset != nil && !*p.Reset
	return s.streamFrom(ctx, w, r, at)
}

// place says what to stream, and from where.
type place struct {
	run    run
	skip   int
	steady bool
	// tail is the index of the last chunk so far; nil if nobody asked.
	tail *int
}

// streamFrom streams a run. Without a turn its message waits in the queue, behind the row's turn.
func (s *Server) streamFrom(ctx context.Context, w http.ResponseWriter, r *http.Request, at place) error {
	turn := at.run.turn
	before, err := s.service.Before(ctx, chat.TurnRequest{Chat: at.run.chat, Turn: turn})
	if err == nil && turn == 0 {
		before, err = s.service.Before(ctx, chat.TurnRequest{Chat: at.run.chat, Turn: before.Chat.Turn + 1})
	}
	if err != nil {
		return err
	}
	if turn > before.Chat.Turn {
		return errNoRun(at.run)
	}
	stream, err := s.open(w, r, at)
	if err != nil {
		return err
	}
	defer stream.Close()
	v := &relay{to: stream, row: before.Chat, turn: turn, client: at.run.client, skip: at.skip}
	v.made.steady = at.steady
	s.follow(stream.Context(), v, before.After)
	return nil
}

// resume streams the open turn of a chat again, or with startIndex what the client lacks of a run or of the chat's last turn. Only without it nothing
// to stream is no content: clients that count come back until they have seen a finish.
func (s *Server) resume(w http.ResponseWriter, r *http.Request) error {
	index, counted, steady, err := readQuery(r.URL.Query())
	if err != nil {
		return err
	}
	ctx, cancel := bounded(r)
	defer cancel()
	at := place{skip: max(0, index), steady: steady}
	named := r.PathValue("run")
	if at.run, err = parseRun(named); err != nil {
		return err
	}
	if at.run.whole() {
		row, err := s.service.Before(ctx, chat.TurnRequest{Chat: at.run.chat})
		var refusal *chat.Error
		gone := errors.As(err, &refusal) && refusal.Code == chat.NotFound
		if err != nil && !gone {
			return err
		}
		idle := gone || row.Chat.Turn == 0 || row.Chat.Status == chat.Waiting || row.Chat.Status == chat.Parked
		switch {
		case idle && !counted: // a page may ask before its first message was sent
			w.WriteHeader(http.StatusNoContent)
			return nil
		case gone || row.Chat.Turn == 0:
			return s.nothing(w, r, at)
		}
		at.run.turn = row.Chat.Turn
	} else if at.run.turn == 0 {
		found, err := s.service.Find(ctx, chat.FindRequest{Chat: at.run.chat, ClientID: at.run.client})
		if err != nil {
			return err
		}
		at.run.turn = found.Message.Turn
	}
	if index < 0 {
		if err := s.fromTail(ctx, &at, index); err != nil {
			return err
		}
	}
	return s.streamFrom(ctx, w, r, at)
}

// nothing answers who counts and has nothing to come back for.
func (s *Server) nothing(w http.ResponseWriter, r *http.Request, at place) error {
	stream, err := s.open(w, r, at)
	if err != nil {
		return err
	}
	defer stream.Close()
	_ = stream.Send(wire.Frame{Data: chunk{Type: finishChunk, FinishReason: "other"}.data()}, wire.Frame{Data: []byte("[DONE]")})
	return nil
}

// fromTail counts the chunks that there are.
func (s *Server) fromTail(ctx context.Context, at *place, index int) error {
	before, err := s.service.Before(ctx, chat.TurnRequest{Chat: at.run.chat, Turn: at.run.turn})
	if err != nil {
		return err
	}
	count := 0
	log, made := chat.NewTurnLog(at.run.turn, chat.MarkOf(-1)), projection{}
	transcript := chat.TranscriptAfter(before.After)
	for more := true; more; {
		page, err := s.feed.Snapshot(ctx, chat.MessagesRequest{Chat: at.run.chat, After: transcript.After(), Limit: 200})
		if err != nil {
			return err
		}
		for _, e := range transcript.Reset(page) {
			for _, t := range log.Apply(e) {
				count += len(made.apply(t))
			}
		}
		more = page.Next != 0 && !log.Over()
	}
	tail := count - 1
	at.tail, at.skip = &tail, max(0, count+index)
	return nil
}

// stop interrupts the open turn, or the one that the client names if that is still open. The body may be anything that the client has.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) error {
	raw, err := s.kit.Body(w, r, maxBody)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(r)
	defer cancel()
	id := chat.ID(r.PathValue("chat"))
	named, err := stopped(id, raw)
	if err != nil {
		return err
	}
	turn := named.turn
	if turn == 0 && named.client != "" {
		found, err := s.service.Find(ctx, chat.FindRequest{Chat: id, ClientID: named.client})
		if err != nil {
			return err
		}
		if turn = found.Message.Turn; turn == 0 {
			return chat.Errorf(chat.Conflict, "activeStreamId", "the message waits in the queue, and there is nothing to stop yet")
		}
	}
	if _, err := s.service.Interrupt(ctx, chat.InterruptRequest{Chat: id, Turn: turn}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
