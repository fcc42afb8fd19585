package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/store"
)

// Two replicas take turns with a chat, each remembering what it saw, while its history grows, is cut, and begins anew under the same id. Whoever claims
// gets what the database has.
func TestAClaimSeesTheHistoryWhateverTheReplicaRemembers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			a := open(t)
			p := &pair{T: t, random: rand.New(rand.NewPCG(seed, 0)), stores: []*testStore{a, openURL(t, a.url)}}
			p.must(a.Register(t.Context(), chat.Worker{ID: "w", Slots: 1}))
			p.create()
			for range 60 {
				p.step()
			}
		})
	}
}

// pair is two replicas and one chat.
type pair struct {
	*testing.T
	random *rand.Rand
	stores []*testStore
	count  int
}

func (p *pair) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *pair) one() *testStore { return p.stores[p.random.IntN(len(p.stores))] }

func (p *pair) create() {
	p.Helper()
	_, err := p.one().Create(p.Context(), chat.NewChat{ID: "c", Model: "demo/echo"})
	p.must(err)
}

// step makes a turn, now and then after something that changes the history otherwise.
func (p *pair) step() {
	p.Helper()
	switch p.random.IntN(10) {
	case 0:
		_, err := p.one().Append(p.Context(), "c", []chat.Exchange{{Said: p.words(), Answer: p.words(), ClientID: p.name()}})
		if refused := new(chat.Error); !errors.As(err, &refused) || refused.Code != chat.Conflict { // the turn before may wait for a claim
			p.must(err)
		}
	case 1:
		_, err := p.one().Delete(p.Context(), "c")
		p.must(err)
		p.create()
	case 2:
		p.truncate()
	case 3:
		p.must(p.one().Elapse(p.Context(), time.Hour)) // the same ids with other times, as after a restore
	}
	s := p.one()
	b := chat.Budget{Messages: []int{3, 1000}[p.random.IntN(2)], Bytes: 1 << 20}
	row, history := p.claim(s, b)
	want := p.rows().History(row.Number)
	if b.Messages < len(want) {
		want = want[len(want)-b.Messages:]
	}
	if diff := cmp.Diff(want, history); diff != "" {
		p.Fatalf("turn %d: the claim's history (-database +claim):\n%s", row.Turn, diff)
	}
	p.end(s, row)
}

// claim opens a turn, here or by way of the bus; or claims the one that is open.
func (p *pair) claim(s *testStore, b chat.Budget) (chat.Chat, []chat.Message) {
	p.Helper()
	m := chat.NewMessage{Chat: "c", Parts: p.words(), ClientID: p.name()}
	if now, err := s.Get(p.Context(), "c"); err != nil || now.Status == chat.Waiting {
		p.must(err)
		if p.random.IntN(2) == 0 {
			sent, history, err := s.OpenTurn(p.Context(), m, "w", b)
			p.must(err)
			return sent.Chat, history
		}
		_, err = p.one().Send(p.Context(), m, nil)
		p.must(err)
	}
	c, err := s.Claim(p.Context(), "c", "w", true, b)
	p.must(err)
	return c.Chat, c.History
}

// end answers, with and without a call of a tool, or fails and is retried: then the next claim is of the same turn.
func (p *pair) end(s *testStore, c chat.Chat) {
	p.Helper()
	l := chat.Lease{Chat: "c", Number: c.Number, Worker: "w", Epoch: c.Epoch, Turn: c.Turn, Step: c.Step}
	last := chat.Message{Role: chat.Assistant, Parts: p.words(), Chunks: []int32{1, 2}, Model: "demo/echo", Finish: chat.Stop, Usage: &chat.Usage{InputTokens: 1}}
	switch p.random.IntN(6) {
	case 0:
		call := chat.Part{Type: chat.ToolCallPart, CallID: "x", Name: "clock", Input: []byte(`{"b": 1e2, "a":[ ]}`)}
		result := chat.Part{Type: chat.ToolResultPart, CallID: "x", Text: "noon"}
		_, err := s.Commit(p.Context(), l, []chat.Message{{Role: chat.Assistant, Parts: []chat.Part{call}}, {Role: chat.Tool, Parts: []chat.Part{result}}})
		p.must(err)
		l.Step++
	case 1:
		last.Finish, last.Error = chat.Failed, &chat.TurnError{Code: "overloaded", Message: "try again", Attempts: 1}
		_, err := s.Fail(p.Context(), l, []chat.Message{last})
		p.must(err)
		_, err = p.one().Retry(p.Context(), "c")
		p.must(err)
		return
	case 2:
		last.Parts = append(last.Parts, chat.Part{Type: chat.TextPart, Text: "broken \xff"})
	}
	_, err := s.Finish(p.Context(), l, []chat.Message{last})
	p.must(err)
}

// truncate opens a turn again, from any message that was said.
func (p *pair) truncate() {
	p.Helper()
	row, err := p.stores[0].Get(p.Context(), "c")
	p.must(err)
	said := slices.DeleteFunc(p.rows().History(row.Number), func(m chat.Message) bool { return m.Role != chat.User })
	if len(said) == 0 {
		return
	}
	_, err = p.one().Truncate(p.Context(), chat.Truncation{Chat: "c", Message: *said[p.random.IntN(len(said))].ID})
	p.must(err)
}

func (p *pair) rows() chattest.Rows {
	p.Helper()
	rows, err := p.stores[0].Rows(p.Context())
	p.must(err)
	return rows
}

func (p *pair) name() string {
	p.count++
	return fmt.Sprint("m", p.count)
}

func (p *pair) words() []chat.Part {
	return []chat.Part{{Type: chat.TextPart, Text: p.name() + " says \"ä\u2028\""}}
}

// What is remembered has a limit, whatever the histories are.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 10_000
	r := store.NewRecent(limit)
	for i := range 100 {
		r.Keep(chat.ID(fmt.Sprint("c", i%70)), make([]int32, i%7), 100*(i%5))
		if bytes, chats := r.Size(); bytes > limit || chats > 70 {
			t.Fatalf("after %d histories %d bytes of %d chats are kept", i+1, bytes, chats)
		}
	}
	_, chats := r.Size()
	if chats == 0 {
		t.Error("nothing is kept")
	}
	r.Keep("long", make([]int32, 100), 1000)
	if _, left := r.Size(); left != chats {
		t.Errorf("a history that is too long to be kept left %d of %d others", left, chats)
	}
}
