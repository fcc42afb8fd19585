package gateway

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// Commands are what callers may have done.
type Commands interface {
	Create(ctx context.Context, r chat.CreateRequest) (chat.CreateReply, error)
	Send(ctx context.Context, r chat.SendRequest) (chat.SendReply, error)
	Interrupt(ctx context.Context, r chat.InterruptRequest) (chat.ChatReply, error)
	Retry(ctx context.Context, r chat.ChatRequest) (chat.ChatReply, error)
	Truncate(ctx context.Context, r chat.TruncateRequest) (chat.TruncateReply, error)
	Delete(ctx context.Context, r chat.ChatRequest) (chat.DeleteReply, error)
}

// Queries are what callers may read.
type Queries interface {
	Get(ctx context.Context, r chat.ChatRequest) (chat.ChatReply, error)
	Messages(ctx context.Context, r chat.MessagesRequest) (chat.MessagesReply, error)
	Queue(ctx context.Context, r chat.QueueRequest) (chat.QueueReply, error)
	List(ctx context.Context, r chat.ListRequest) (chat.ListReply, error)
	Workers(ctx context.Context, r chat.WorkersRequest) (chat.WorkersReply, error)
}

// Transcripts are what streams are made from.
type Transcripts interface {
	Snapshot(ctx context.Context, r chat.MessagesRequest) (chat.Snapshot, error)
	// Before says where a turn begins among its chat's messages.
	Before(ctx context.Context, r chat.TurnRequest) (chat.TurnReply, error)
}

// Labels are what callers may change of what a chat is called.
type Labels interface {
	Update(ctx context.Context, r chat.UpdateRequest) (chat.ChatReply, error)
}

// Service is one service behind every API.
type Service interface {
	Commands
	Labels
	Queries
	Transcripts
}

var _ Service = (*chat.Service)(nil)

// Events is where live events come from.
type Events interface {
	// Subscribe returns once every event of the chat published from now on will be delivered. The channel is closed when events were lost.
	Subscribe(ctx context.Context, id chat.ID) (events <-chan chat.Event, stop func(), err error)
	// SubscribeAll is Subscribe for all chats.
	SubscribeAll(ctx context.Context) (events <-chan chat.Event, stop func(), err error)
}

// Config has a gateway's settings. The zero value lets everybody in, and no other origin.
type Config struct {
	// Tokens are accepted as bearers; without any, no request needs one.
	Tokens []Token
	// Origins are the web origins whose pages may use the API, "*" for all.
	Origins []string
	// Local says that only this machine is meant to come, by names that mean it and those of Origins. Without tokens, others are refused: a page from
	// elsewhere that makes its own name point here is of the same origin, to its browser and to everything else that is checked.
	Local bool
	// Compare is how often a stream compares with the row (chat.DefaultTiming).
	Compare time.Duration
	// Kit has what streams and bodies are held to.
	Kit    wire.Config
	Logger *slog.Logger
	// Observe is told of every request that was answered: of which protocol, with which status; may be nil.
	Observe func(p Protocol, status int, elapsed time.Duration)
}

// Gateway serves the API. Its methods may be called from any goroutine.
type Gateway struct {
	service Service
	hub     *hub
	recent  recent
	kit     *wire.Kit
	config  Config
	tokens  tokens
	origins origins
	mux     *http.ServeMux
	open    *http.ServeMux
	limit   chan struct{}
}

// New makes a gateway with the native API mounted.
func New(service Service, events Events, config Config) (*Gateway, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Compare == 0 {
		config.Compare = chat.DefaultTiming().Compare
	}
	if config.Kit.Logger == nil {
		config.Kit.Logger = config.Logger
	}
	origins, err := newOrigins(config.Origins)
	if err != nil {
		return nil, err
	}
	origins.local = config.Local && len(config.Tokens) == 0
	g := &Gateway{
		service: service, hub: newHub(events, service, config.Logger), kit: wire.New(config.Kit), config: config,
		tokens: newTokens(config.Tokens), origins: origins, mux: http.NewServeMux(), open: http.NewServeMux(), limit: make(chan struct{}, maxRequests),
	}
	for _, r := range g.routes() {
		g.mux.Handle(r.pattern, g.kit.Handle(g.bounded(r.handle)))
	}
	g.mux.Handle("GET /v1/chats/{id}/events", g.kit.Handle(g.events))
	g.mux.Handle("GET /v1/events", g.kit.Handle(g.overview))
	g.open.Handle("GET /openapi.json", http.HandlerFunc(serveOpenAPI))
	return g, nil
}

// Mux is where the other protocols are mounted.
func (g *Gateway) Mux() *http.ServeMux { return g.mux }

// Open is where that is mounted which is had without a token: what a load balancer asks, and pages whose scripts then bring one.
func (g *Gateway) Open() *http.ServeMux { return g.open }

// Kit is what the other protocols use.
func (g *Gateway) Kit() *wire.Kit { return g.kit }

// Feed is where watchers of other protocols get events and snapshots from.
func (g *Gateway) Feed() chat.Feed { return g.hub }

// route is one of the native API, streams apart.
type route struct {
	pattern string
	handle  func(http.ResponseWriter, *http.Request) error
}

func (g *Gateway) routes() []route {
	return []route{
		{"POST /v1/chats", g.create},
		{"GET /v1/chats", g.list},
		{"GET /v1/chats/{id}", g.get},
		{"PATCH /v1/chats/{id}", g.update},
		{"DELETE /v1/chats/{id}", g.remove},
		{"POST /v1/chats/{id}/messages", g.send},
		{"GET /v1/chats/{id}/messages", g.messages},
		{"GET /v1/chats/{id}/queue", g.queue},
		{"POST /v1/chats/{id}/interrupt", g.interrupt},
		{"POST /v1/chats/{id}/retry", g.retry},
		{"POST /v1/chats/{id}/truncate", g.truncate},
		{"GET /v1/workers", g.workers},
	}
}

const (
	// maxRequests is how many requests of the native API are served at once, streams apart. Those above are refused as unavailable.
	maxRequests = 512
	// requestDeadline bounds one of them.
	requestDeadline = 10 * time.Second
)

// bounded holds a request to what those over NATS are held to, once its body is there: one that is slow to arrive would take a place from
// others, and the time for what it asks from itself. A client that leaves does not end it: what it asked for may be half done, and a
// connection to the database would be lost with it.
func (g *Gateway) bounded(handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Body != http.NoBody {
			raw, err := g.kit.Body(w, r, wire.MaxBody)
			if err != nil {
				return err
			}
			r.Body = io.NopCloser(bytes.NewReader(raw))
		}
		select {
		case g.limit <- struct{}{}:
			defer func() { <-g.limit }()
		default:
			return chat.Errorf(chat.Unavailable, "", "this replica is busy, try again")
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestDeadline)
		defer cancel()
		return handle(w, r.WithContext(ctx))
	}
}
