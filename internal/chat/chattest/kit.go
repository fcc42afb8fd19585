package chattest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// kit is one store under test with short words for its moves. A word fails the test when the move is refused.
type kit struct {
	t   *testing.T
	ctx context.Context
	s   Store
}

func setup(t *testing.T, open func(t *testing.T) Store) *kit {
	t.Helper()
	return &kit{t: t, ctx: t.Context(), s: open(t)}
}

func (k *kit) ok(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) equal(what string, got, want any) {
	k.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		k.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// is expects a sentinel.
func (k *kit) is(err, sentinel error) {
	k.t.Helper()
	if !errors.Is(err, sentinel) {
		k.t.Errorf("got error %v, want %v", err, sentinel)
	}
}

// refused expects a refusal that a caller sees.
func (k *kit) refused(err error, code chat.Code, field string) {
	k.t.Helper()
	var refusal *chat.Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Field != field {
		k.t.Errorf("got error %v, want code %s of field %s", err, code, field)
	}
}

func (k *kit) rows() Rows {
	k.t.Helper()
	rows, err := k.s.Rows(k.ctx)
	k.ok(err)
	return rows
}

// unchanged expects that do leaves every row as it is.
func (k *kit) unchanged(do func()) {
	k.t.Helper()
	before := k.rows()
	do()
	after := k.rows()
	after.Now = before.Now
	k.equal("rows after a move that changes nothing", after, before)
}

// state is a row at a glance; only what is set needs to be named.
type state struct {
	Status                           chat.Status
	Turn, Step                       int
	Epoch, Void                      int64
	Worker                           chat.WorkerID
	Attempts                         int
	Retry                            bool
	Takeovers, Recoveries, Interrupt int
	Queued                           int
	Error                            string
}

func stateOf(c chat.Chat) state {
	s := state{
		Status: c.Status, Turn: c.Turn, Step: c.Step, Epoch: c.Epoch, Void: c.Void, Attempts: c.Attempts, Retry: c.RetryAt != nil,
		Takeovers: c.Takeovers, Recoveries: c.Recoveries, Interrupt: c.InterruptTurn, Queued: c.Queued,
	}
	if c.Worker != nil {
		s.Worker = *c.Worker
	}
	if c.LastError != nil {
		s.Error = c.LastError.Code
	}
	return s
}

// row expects a chat's row.
func (k *kit) row(id chat.ID, want state) {
	k.t.Helper()
	c, err := k.s.Get(k.ctx, id)
	k.ok(err)
	k.equal("row of "+string(id), stateOf(c), want)
	k.sound()
}

// sound expects the invariants of every row.
func (k *kit) sound() {
	k.t.Helper()
	if err := CheckInvariants(k.rows()); err != nil {
		k.t.Error(err)
	}
}

// line is a message at a glance: turn.step@epoch role text finish.
func line(m chat.Message) string {
	s := fmt.Sprintf("%d.%d@%d %s %s %s", m.Turn, m.Step, m.Epoch, m.Role, textOf(m), m.Finish)
	return strings.TrimSpace(s)
}

func textOf(m chat.Message) string {
	var all []string
	for _, p := range m.Parts {
		all = append(all, p.Text+p.CallID)
	}
	return strings.Join(all, "+")
}

func lines(all []chat.Message) []string {
	out := make([]string, len(all))
	for i, m := range all {
		out[i] = line(m)
	}
	return out
}

// says expects a chat's transcript.
func (k *kit) says(id chat.ID, want ...string) {
	k.t.Helper()
	k.equal("transcript of "+string(id), lines(k.history(id)), want)
}

func (k *kit) history(id chat.ID) []chat.Message {
	k.t.Helper()
	rows := k.rows()
	c, ok := rows.Chat(id)
	if !ok {
		k.t.Fatalf("there is no chat %s", id)
	}
	return rows.History(c.Chat.Number)
}

// due expects when the dispatch of chat a, which is pending, is looked for, within what a slow test may take.
func (k *kit) due(want time.Duration) {
	k.t.Helper()
	rows := k.rows()
	c, ok := rows.Chat("a")
	if !ok || c.Dispatch.At == nil {
		k.t.Fatal("dispatch is not looked for")
	}
	if got := c.Dispatch.At.Sub(rows.Now); (got - want).Abs() > tolerance {
		k.t.Errorf("dispatch is looked for in %s, want %s", got, want)
	}
}
