package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/llm"
)

// NATSFlags say where NATS is.
type NATSFlags struct {
	NATSURL   string `name:"nats-url" default:"nats://127.0.0.1:4222" placeholder:"URL" help:"Address of NATS, or several separated by commas."`
	NATSCreds string `name:"nats-creds" placeholder:"FILE" help:"Credentials file for NATS."`
	NATSCA    string `name:"nats-ca" placeholder:"FILE" help:"PEM file of the authorities to trust for TLS to NATS."`
	NATSCert  string `name:"nats-cert" placeholder:"FILE" help:"PEM file of the client certificate for NATS."`
	NATSKey   string `name:"nats-key" placeholder:"FILE" help:"PEM file of that certificate's key."`
}

// DatabaseFlags say where Postgres is. The variable DATABASE_URL, which is often somebody else's, is never read.
type DatabaseFlags struct {
	DatabaseURL  string `name:"database-url" placeholder:"URL" help:"Address of PostgreSQL, such as postgres://user:password@host/database."`
	DatabasePool int    `name:"database-pool" default:"20" placeholder:"N" help:"Connections to PostgreSQL at most."`
}

// require is for the commands that start no database of their own.
func (f DatabaseFlags) require() error {
	if f.DatabaseURL == "" {
		return errors.New("which database? give --database-url or set PROCESSOR_DATABASE_URL, such as postgres://user:password@host/database")
	}
	return nil
}

// ReplicaFlags are settings of one replica that dev hands on to those it starts.
type ReplicaFlags struct {
	Slots  int           `name:"slots" default:"${slots}" placeholder:"N" help:"How many chats this replica runs at a time."`
	Retain time.Duration `name:"retain" placeholder:"DURATION" help:"How long idle chats are kept, such as 720h; for ever unless given."`
}

// Validate refuses settings that can't work. The command line's parser calls it.
func (f ReplicaFlags) Validate() error {
	switch {
	case f.Slots < 1:
		return fmt.Errorf("--slots must be at least 1, is %d", f.Slots)
	case f.Retain < 0:
		return fmt.Errorf("--retain must not be negative, is %s", f.Retain)
	}
	return nil
}

// StreamFlags say how the streams of NATS are made.
type StreamFlags struct {
	StreamReplicas   int  `name:"stream-replicas" default:"1" placeholder:"N" help:"How many NATS servers hold each stream; 3 on a cluster."`
	PartialsMaxBytes size `name:"partials-max-bytes" default:"1GiB" placeholder:"SIZE" help:"Disk that the stream of partial answers may take."`
}

// Validate is called by the command line's parser.
func (f StreamFlags) Validate() error {
	if f.StreamReplicas < 1 || f.StreamReplicas > 5 {
		return fmt.Errorf("--stream-replicas must be 1 to 5, is %d", f.StreamReplicas)
	}
	return nil
}

// TimingFlags are those of chat.Timing that operators set. Their defaults are chat.DefaultTiming's.
type TimingFlags struct {
	Heartbeat       time.Duration `default:"${heartbeat}" placeholder:"DURATION" help:"Time between two heartbeats of a replica."`
	SuspectAfter    time.Duration `default:"${suspect_after}" placeholder:"DURATION" help:"Age of a heartbeat from which a replica is probed."`
	LostAfter       time.Duration `default:"${lost_after}" placeholder:"DURATION" help:"Age of a heartbeat from which a replica is lost without a probe."`
	SweepEvery      time.Duration `default:"${sweep_every}" placeholder:"DURATION" help:"Time between two looks for lost replicas."`
	AckWait         time.Duration `default:"${ack_wait}" placeholder:"DURATION" help:"NATS's deadline from delivery to claim."`
	DrainTimeout    time.Duration `default:"${drain_timeout}" placeholder:"DURATION" help:"How long running turns may go on after a shutdown began."`
	FinalizeTimeout time.Duration `default:"${finalize_timeout}" placeholder:"DURATION" help:"How long the last writes of a shutdown may take."`
	RedispatchAfter time.Duration `default:"${redispatch_after}" placeholder:"DURATION" help:"First wait before a pending chat's dispatch is looked for."`
	FirstToken      time.Duration `name:"first-token-timeout" default:"${first_token_timeout}" placeholder:"DURATION" help:"A model's longest silence before its first token."`
	Token           time.Duration `name:"token-timeout" default:"${token_timeout}" placeholder:"DURATION" help:"A model's longest silence between two tokens."`
	ModelAttempts   int           `default:"${model_attempts}" placeholder:"N" help:"How many calls of a model may fail before the turn does."`
}

// Timing is the default with what the flags say; its error names every value that can't be.
func (f TimingFlags) Timing() (chat.Timing, error) {
	t := chat.DefaultTiming()
	t.Heartbeat, t.SuspectAfter, t.LostAfter, t.SweepEvery = f.Heartbeat, f.SuspectAfter, f.LostAfter, f.SweepEvery
	t.AckWait, t.Drain, t.Finalize, t.RedispatchAfter = f.AckWait, f.DrainTimeout, f.FinalizeTimeout, f.RedispatchAfter
	t.FirstToken, t.Token, t.ModelAttempts = f.FirstToken, f.Token, f.ModelAttempts
	return t, t.Validate()
}

// Validate is called by the command line's parser.
func (f TimingFlags) Validate() error {
	_, err := f.Timing()
	return err
}

// timingDefaults are what the tags above name.
func timingDefaults() map[string]string {
	t := chat.DefaultTiming()
	return map[string]string{
		"heartbeat": short(t.Heartbeat), "suspect_after": short(t.SuspectAfter), "lost_after": short(t.LostAfter),
		"sweep_every": short(t.SweepEvery), "ack_wait": short(t.AckWait), "drain_timeout": short(t.Drain),
		"finalize_timeout": short(t.Finalize), "redispatch_after": short(t.RedispatchAfter),
		"first_token_timeout": short(t.FirstToken), "token_timeout": short(t.Token),
		"model_attempts": strconv.Itoa(t.ModelAttempts),
	}
}

// short leaves out the seconds of 2m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

// ModelFlags say how models are asked. Keys come by the environment only: a command line is everybody's to read.
type ModelFlags struct {
	Model           string        `name:"model" placeholder:"PROVIDER/MODEL" help:"Answers chats that name no model. Unless given: of OpenAI or Anthropic when its key is set, else demo/echo."`
	MaxTokens       int           `name:"max-tokens" placeholder:"N" help:"Tokens of one answer at most; the provider's default unless given."`
	HistoryMessages int           `name:"history-messages" default:"${history_messages}" placeholder:"N" help:"Messages of a chat sent to the model at most, the newest ones."`
	HistoryBytes    size          `name:"history-bytes" default:"${history_bytes}" placeholder:"SIZE" help:"Text of a chat sent to the model at most, the newest part."`
	DemoDelay       time.Duration `name:"demo-delay" default:"30ms" placeholder:"DURATION" help:"Pause before each word of demo/echo."`
}

// Config has the providers; getenv is os.Getenv.
func (f ModelFlags) Config(getenv func(string) string) llm.Config {
	return llm.Config{
		OpenAIKey: getenv("OPENAI_API_KEY"), OpenAIBaseURL: getenv("OPENAI_BASE_URL"),
		AnthropicKey: getenv("ANTHROPIC_API_KEY"), AnthropicBaseURL: getenv("ANTHROPIC_BASE_URL"),
		DemoDelay: f.DemoDelay,
	}
}

// Budget caps the history.
func (f ModelFlags) Budget() chat.Budget {
	return chat.Budget{Messages: f.HistoryMessages, Bytes: int(f.HistoryBytes)}
}

// Validate checks the environment as well, so that a bad key is a one-line error before anything is started.
func (f ModelFlags) Validate() error {
	if f.MaxTokens < 0 || f.HistoryMessages < 1 || f.HistoryBytes < 1 {
		return errors.New("--max-tokens, --history-messages and --history-bytes must be above zero")
	}
	config := f.Config(os.Getenv)
	if err := config.Validate(); err != nil {
		return err
	}
	if f.Model == "" {
		return nil
	}
	models := llm.New(config, slog.New(slog.DiscardHandler))
	defer models.Close()
	if _, _, err := models.Resolve(f.Model); err != nil {
		return fmt.Errorf("--model %s: %w", f.Model, err)
	}
	return nil
}

// LogFlags say what is logged.
type LogFlags struct {
	LogLevel  slog.Level `name:"log-level" default:"info" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error."`
	LogFormat string     `name:"log-format" default:"text" enum:"text,json" placeholder:"text|json" help:"Form of the log."`
}

// Logger logs to w.
func (f LogFlags) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// RunCmd is one replica. Its Run is in run.go.
type RunCmd struct {
	HTTP string `name:"http" placeholder:"ADDRESS" help:"Serve the HTTP API, health, readiness and metrics here, such as 127.0.0.1:8080; not at all unless given."`
	Name string `name:"name" placeholder:"NAME" help:"What people call this replica; the host's name unless given."`
	// Leash is how a replica of dev notices, on every system, that dev was killed.
	Leash bool `name:"leash" hidden:"" help:"End at once when standard input does."`

	HTTPFlags     `group:"HTTP"`
	NATSFlags     `group:"NATS"`
	DatabaseFlags `group:"Database"`
	ReplicaFlags  `group:"Replica"`
	StreamFlags   `group:"Replica"`
	ModelFlags    `group:"Models"`
	TimingFlags   `group:"Timing"`
	LogFlags      `group:"Log"`

	wrap func(chat.Models) chat.Models
}

// Validate is called by the command line's parser.
func (c *RunCmd) Validate() error { return c.require() }

// AfterApply is called by the command line's parser. The goroutine lives as long as the process: nothing else reads standard input.
func (c *RunCmd) AfterApply(std *Streams) error { //nolint:unparam // the parser wants an error
	if c.Leash {
		go func() {
			_, _ = io.Copy(io.Discard, std.In)
			os.Exit(1)
		}()
	}
	return nil
}

// worker is the replica as it registers; the heartbeat gives it its id.
func (c *RunCmd) worker() (chat.Worker, error) {
	host, err := os.Hostname()
	if err != nil {
		return chat.Worker{}, fmt.Errorf("find out the host's name: %w", err)
	}
	return chat.Worker{Name: cmp.Or(c.Name, host), Host: host, PID: os.Getpid(), Build: buildName(), Slots: c.Slots}, nil
}

// size is a number of bytes, as people write it: 4096, 64KiB, 1GiB.
type size int64

func units() []struct {
	name string
	size size
} {
	return []struct {
		name string
		size size
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

func (s size) String() string {
	for _, u := range units() {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalText reads it.
func (s *size) UnmarshalText(text []byte) error {
	number, factor := string(text), size(1)
	for _, u := range units() {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = rest, u.size
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > int64(1<<62/factor) {
		return fmt.Errorf("%q is not a size such as 4096, 64KiB or 1GiB", text)
	}
	*s = size(n) * factor
	return nil
}
