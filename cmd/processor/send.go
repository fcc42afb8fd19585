package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"

	"processor/internal/bus"
	"processor/internal/chat"
)

// SendCmd sends a message and prints its answer.
type SendCmd struct {
	Text []string `arg:"" optional:"" help:"What to say; read from standard input unless given."`

	Chat   chat.ID   `name:"chat" placeholder:"ID" help:"The chat to go on with; made if there is none. A new one unless given."`
	Model  string    `name:"model" placeholder:"PROVIDER/MODEL" help:"Answers this message, and all of a new chat; the deployment's default unless given."`
	System string    `name:"system" placeholder:"TEXT" help:"System prompt of a new chat."`
	Busy   chat.Busy `name:"busy" default:"queue" enum:"queue,interrupt,reject" placeholder:"queue|interrupt|reject" help:"What to do when the chat is busy: wait for its turn, stop the current one, or give up."`
	Hold   bool      `name:"no-stream" help:"Print the answer when it is committed, not as it comes."`

	NATSFlags `group:"NATS"`
}

// Help says more than a line per flag can.
func (c *SendCmd) Help() string {
	return "The answer goes to standard output as it comes, the chat's id and everything else to standard error. " +
		"When a replica dies in mid-answer another one answers again: what repeats the text so far is not printed twice, " +
		"and an answer that turns out otherwise is printed once more in full, on a new line; --no-stream rules that out. " +
		"Ctrl-C stops the turn, a second one leaves it to itself. " +
		"Exit code: 0 answered, 1 failed or stopped."
}

// Run sends and waits for the outcome.
func (c *SendCmd) Run(ctx context.Context, std *Streams) error {
	text, err := c.read(std)
	if err != nil {
		return err
	}
	b, err := c.connect(ctx, "send")
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	s := newSending(b, std, c.Hold)
	keys := make(chan os.Signal, 2)
	signal.Notify(keys, os.Interrupt)
	defer signal.Stop(keys)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { s.listen(ctx, keys, leave) })
	defer leave(nil)
	if err := c.accept(ctx, b, s, text); errors.Is(err, errLeft) {
		return errors.New("left before an answer came to whether the message was accepted: see `processor ls`")
	} else if err != nil {
		return err
	}
	fmt.Fprintln(std.Err, dim(std.Err, string(s.chat)))
	return s.follow(ctx)
}

// read takes the text of the command line, or of standard input without its last newline.
func (c *SendCmd) read(std *Streams) (string, error) {
	text := strings.Join(c.Text, " ")
	if len(c.Text) == 0 {
		if isTerminal(std.In) {
			std.note("say something, and end with Ctrl-D:")
		}
		raw, err := io.ReadAll(io.LimitReader(std.In, chat.MaxText+2))
		if err != nil {
			return "", fmt.Errorf("read standard input: %w", err)
		}
		text = strings.TrimSuffix(string(raw), "\n")
	}
	if strings.TrimSpace(text) == "" {
		return "", usageError{errors.New("nothing to send: give the text as an argument or on standard input")}
	}
	return text, checkText(text)
}

// checkText refuses what can't be said to the service: JSON would replace what is not UTF-8, and a text that is too long was not read to its end.
func checkText(text string) error {
	switch {
	case !utf8.ValidString(text):
		return usageError{errors.New("the text is not UTF-8: convert it, such as with iconv -t utf-8")}
	case len(text) > chat.MaxText:
		return usageError{fmt.Errorf("the text is longer than %d bytes, which is the limit", chat.MaxText)}
	}
	return nil
}

// accept makes the message durable. The ids are made here, so that a request may be repeated.
func (c *SendCmd) accept(ctx context.Context, b *bus.Bus, s *sending, text string) error {
	s.client = uuid.NewString()
	if c.Chat == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make an id: %w", err)
		}
		return c.create(ctx, b, s, chat.ID(id.String()), text)
	}
	if c.System != "" {
		_, err := ask[chat.ChatReply](ctx, b, "chats.get", chat.ChatRequest{Chat: c.Chat})
		if err == nil {
			return usageError{fmt.Errorf("chat %s exists, and its system prompt can't be changed: leave out --system, or start another chat", c.Chat)}
		}
		if !isRefused(err, chat.NotFound) {
			return err
		}
	}
	r := chat.SendRequest{Chat: c.Chat, Text: &text, ClientID: s.client, Model: c.Model, Busy: c.Busy}
	reply, err := ask[chat.SendReply](ctx, b, "chats.send", r)
	switch {
	case isRefused(err, chat.NotFound):
		return c.create(ctx, b, s, c.Chat, text)
	case err != nil:
		return err
	}
	s.accepted(c.Chat, reply.Message)
	return nil
}

func (c *SendCmd) create(ctx context.Context, b *bus.Bus, s *sending, id chat.ID, text string) error {
	r := chat.CreateRequest{ID: id, Model: c.Model, System: c.System, Message: &chat.FirstMessage{Text: &text, ClientID: s.client}}
	reply, err := ask[chat.CreateReply](ctx, b, "chats.create", r)
	if err != nil {
		return err
	}
	s.accepted(id, *reply.Message)
	return nil
}
