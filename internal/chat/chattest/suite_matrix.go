package chattest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"processor/internal/chat"
)

// matrix tries every transition from every status: what the table allows reaches exactly the statuses that it names, and
// what it does not allow changes nothing and says so by both names.
func matrix(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	for _, tr := range chat.Transitions() {
		t.Run("table/"+string(tr), func(t *testing.T) {
			t.Parallel()
			k := setup(t, open)
			for _, from := range append(chat.Statuses(), chat.Gone) {
				if len(tr.To(from)) > 0 {
					k.allowed(tr, from)
				} else {
					k.forbidden(tr, from)
				}
			}
		})
	}
}

// variant is what makes a transition end in one status or another.
type variant struct {
	// queued: a message waits. doomed: the next takeover is the last. owned: the sender's replica has a slot. plain is none of them.
	queued, doomed, owned bool
}

func variants(from chat.Status) []variant {
	switch from {
	case chat.Waiting:
		return []variant{{}, {owned: true}}
	case chat.Gone:
		return []variant{{}}
	case chat.Parked:
		return []variant{{}, {queued: true}}
	default:
		return []variant{{}, {queued: true}, {doomed: true}}
	}
}

// reach makes a chat in a status, and the lease that its row would give w. One that was
// parked by its owner is the exception: see below.
func (k *kit) reach(id chat.ID, w chat.WorkerID, s chat.Status, v variant) chat.Lease {
	k.t.Helper()
	k.start(id)
	if v.queued {
		k.send(id, "second")
	}
	if v.doomed {
		k.doom(id)
	}
	k.register(w)
	switch s {
	case chat.Running:
		k.claim(id, w)
	case chat.Waiting:
		k.finish(k.claim(id, w), "hi")
	case chat.Parked:
		k.fail(k.claim(id, w))
	case chat.Pending, chat.Gone:
		// It is pending; what is to be gone is deleted below.
	}
	c, err := k.s.Get(k.ctx, id)
	k.ok(err)
	if s == chat.Gone {
		_, err = k.s.Delete(k.ctx, id)
		k.ok(err)
	}
	l := leaseOf(c, w)
	if s == chat.Parked {
		// Under the row's own epoch the writes would repeat the failure that parked it.
		l.Epoch--
	}
	return l
}

// try makes the move on a chat, and names the status before it as the store saw it.
func (k *kit) try(tr chat.Transition, l chat.Lease, v variant) (from chat.Status, err error) {
	var out chat.Outcome
	switch tr {
	case chat.Send:
		var sent chat.Sent
		if v.owned {
			sent, _, err = k.s.OpenTurn(k.ctx, message(l.Chat, "again"), l.Worker, roomy())
		} else {
			sent, err = k.s.Send(k.ctx, message(l.Chat, "again"), nil)
		}
		out = sent.Outcome
	case chat.Claim:
		_, err = k.s.Claim(k.ctx, l.Chat, l.Worker, true, roomy())
		return chat.Pending, err
	case chat.Recover:
		for _, r := range k.kill(l.Worker).Recovered {
			out = r.Outcome
		}
	case chat.Interrupt:
		out, err = k.s.Interrupt(k.ctx, l.Chat, 0, nil)
	case chat.Retry:
		out, err = k.s.Retry(k.ctx, l.Chat)
	case chat.Truncate:
		out, err = k.s.Truncate(k.ctx, chat.Truncation{Chat: l.Chat, Message: k.firstOf(l.Number)})
	case chat.Append:
		out, err = k.s.Append(k.ctx, l.Chat, []chat.Exchange{{Said: say("elsewhere"), ClientID: "elsewhere"}})
	case chat.Update:
		out, err = k.s.Update(k.ctx, chat.Labelling{Chat: l.Chat, Metadata: []byte(`{"k": "v"}`)})
	case chat.Delete:
		var c chat.Chat
		c, err = k.s.Delete(k.ctx, l.Chat)
		return c.Status, err
	default:
		return chat.Running, k.moves(l)[tr]()
	}
	return out.From, err
}

// firstOf is the id of a chat's first message; one that is gone has none.
func (k *kit) firstOf(n chat.Number) int64 {
	k.t.Helper()
	if history := k.rows().History(n); len(history) > 0 {
		return *history[0].ID
	}
	return 1
}

func (k *kit) allowed(tr chat.Transition, from chat.Status) {
	k.t.Helper()
	var reached []chat.Status
	for i, v := range variants(from) {
		id := chat.ID(fmt.Sprintf("%s-%s-%d", tr, from, i))
		l := k.reach(id, chat.WorkerID("w-"+id), from, v)
		before := k.status(id)
		got, err := k.try(tr, l, v)
		if err != nil {
			k.t.Errorf("%s from %s: %v", tr, from, err)
		}
		after := k.status(id)
		k.equal("status before "+string(id), []chat.Status{before.Status, got}, []chat.Status{from, from})
		reached = append(reached, after.Status)
		if changed := after.Version - before.Version; after.Status != chat.Gone && changed != 0 && changed != 1 {
			k.t.Errorf("%s from %s raised the version by %d", tr, from, changed)
		}
		k.sound()
	}
	slices.Sort(reached)
	want := slices.Clone(tr.To(from))
	slices.Sort(want)
	k.equal(fmt.Sprintf("statuses after %s from %s", tr, from), slices.Compact(reached), want)
}

// status reads the row; a chat that does not exist is gone.
func (k *kit) status(id chat.ID) chat.Chat {
	k.t.Helper()
	if c, ok := k.rows().Chat(id); ok {
		return c.Chat
	}
	return chat.Chat{Status: chat.Gone}
}

func (k *kit) forbidden(tr chat.Transition, from chat.Status) {
	k.t.Helper()
	for i, v := range variants(from) {
		id := chat.ID(fmt.Sprintf("%s-%s-%d", tr, from, i))
		l := k.reach(id, chat.WorkerID("w-"+id), from, v)
		if tr == chat.Recover {
			k.passedOver(id, l.Worker)
			continue
		}
		k.unchanged(func() {
			_, err := k.try(tr, l, v)
			k.names(tr, from, err)
		})
	}
}

// passedOver expects that a recovery leaves the chat as it is, the first time and the second.
func (k *kit) passedOver(id chat.ID, w chat.WorkerID) {
	k.t.Helper()
	before := stateOf(k.status(id))
	k.equal("recovered", len(k.kill(w).Recovered), 0)
	k.equal("row of "+string(id), stateOf(k.status(id)), before)
	k.unchanged(func() { k.equal("recovered again", len(k.sweep(pass()).Recovered), 0) })
}

// names expects an error that says which move is not possible from which status.
func (k *kit) names(tr chat.Transition, from chat.Status, err error) {
	k.t.Helper()
	switch {
	case err == nil:
		k.t.Errorf("%s from %s was accepted", tr, from)
		return
	case tr == chat.Claim:
		k.is(err, chat.ErrNothingToDo)
	case from != chat.Gone && slices.Equal(tr.From(), []chat.Status{chat.Waiting}):
		k.refused(err, chat.Conflict, "status")
	case slices.Contains(tr.From(), chat.Running) && len(tr.From()) == 1:
		k.is(err, chat.ErrFenced)
	default:
		k.refused(err, chat.NotFound, "chat")
		return
	}
	if !strings.Contains(err.Error(), string(tr)) || !strings.Contains(err.Error(), string(from)) {
		k.t.Errorf("the refusal of %s from %s does not name both: %v", tr, from, err)
	}
}
