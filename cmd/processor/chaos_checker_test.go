package main

import (
	"fmt"
	"slices"
	"strings"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
)

// violation is something in a history that must not be.
type violation struct {
	Rule string
	Chat chat.ID // empty if it is not one chat's
	What string
}

func (v violation) String() string { return fmt.Sprintf("%s: %s %s", v.Rule, v.Chat, v.What) }

// judge looks through a history, rule by rule.
type judge struct {
	history
	rows     map[chat.Number]chat.Chat
	messages map[chat.Number][]chat.Message
	queues   map[chat.Number][]chat.Message
	moves    map[chat.Number][]move
	stories  map[chat.Number]chronicle
	asked    map[chat.ID][]request
	names    map[chat.WorkerID]string
	rule     string
	found    []violation
}

// verdict says what in a history breaks a promise. It only reads.
func verdict(h history) []violation {
	j := &judge{
		history: h, rows: map[chat.Number]chat.Chat{}, messages: map[chat.Number][]chat.Message{}, queues: map[chat.Number][]chat.Message{},
		moves: map[chat.Number][]move{}, asked: map[chat.ID][]request{}, names: map[chat.WorkerID]string{},
	}
	j.stories = chronicles(h.Moves, h.Entries)
	for _, c := range h.Rows.Chats {
		j.rows[c.Chat.Number] = c.Chat
	}
	for _, m := range h.Rows.Messages {
		j.messages[m.Number] = append(j.messages[m.Number], m.Message)
	}
	for _, m := range h.Rows.Queue {
		j.queues[m.Number] = append(j.queues[m.Number], m.Message)
	}
	for _, m := range h.Moves {
		j.moves[m.Number] = append(j.moves[m.Number], m)
	}
	for _, r := range h.Requests {
		j.asked[r.Chat] = append(j.asked[r.Chat], r)
	}
	for _, l := range h.Lives {
		for _, w := range l.Workers {
			j.names[w] = l.Name
		}
	}
	for _, rule := range rules() {
		j.rule = rule.name
		rule.check(j)
	}
	return j.found
}

// rules are all rules. A violation names the one that it breaks.
func rules() []struct {
	name  string
	check func(*judge)
} {
	return []struct {
		name  string
		check func(*judge)
	}{
		{"an accepted message has one outcome, a refused one none", (*judge).outcomes},
		{"order is kept", (*judge).order},
		{"everybody ends with one transcript", (*judge).transcripts},
		{"all chats rest", (*judge).rest},
		{"the rows keep the invariants", (*judge).invariants},
		{"an epoch has one owner", (*judge).owners},
		{"a model call belongs to a claim", (*judge).calls},
		{"an answer is what one call said", (*judge).answers},
		{"only the asked are interrupted", (*judge).interrupts},
		{"only death is charged", (*judge).charges},
		{"no live worker is lost", (*judge).losses},
		{"replicas end only when told", (*judge).deaths},
		{"what was cut off is gone, and nothing else", (*judge).cuts},
		{"the model is asked what the history holds", (*judge).prompts},
	}
}

func (j *judge) fault(id chat.ID, format string, args ...any) {
	j.found = append(j.found, violation{j.rule, id, fmt.Sprintf(format, args...)})
}

// knowledge is what a client knows of one message in the end.
type knowledge struct {
	request
	accepted, unknown bool
}

// told sorts the tries of a chat's messages, in the order in which they were first accepted or given up.
func told(requests []request) []*knowledge {
	var all []*knowledge
	by := map[string]*knowledge{}
	for _, r := range requests {
		if r.Client == "" {
			continue
		}
		k := by[r.Client]
		if k == nil {
			k = &knowledge{request: r}
			by[r.Client], all = k, append(all, k)
		}
		switch r.Result {
		case accepted:
			if !k.accepted {
				k.accepted, k.Number = true, r.Number
			}
			k.ID = max(k.ID, r.ID)
		case unknown:
			k.unknown = true
		}
	}
	return all
}

// deleted says whether anybody may have removed the chat.
func (j *judge) deleted(id chat.ID) bool {
	return slices.ContainsFunc(j.asked[id], func(r request) bool { return r.Op == "delete" && r.Result != refused })
}

// stored finds a client's message in the rows, however often it is there.
func (j *judge) stored(n chat.Number, client string) (history, queued []chat.Message) {
	is := func(all []chat.Message) (found []chat.Message) {
		for _, m := range all {
			if m.ClientID == client {
				found = append(found, m)
			}
		}
		return found
	}
	return is(j.messages[n]), is(j.queues[n])
}

func (j *judge) outcomes() {
	for id, requests := range j.asked {
		for _, k := range told(requests) {
			j.outcome(id, k)
		}
	}
	for n, messages := range j.messages {
		for _, m := range slices.Concat(messages, j.queues[n]) {
			if m.Role == chat.User && !slices.ContainsFunc(j.asked[m.Chat], func(r request) bool { return r.Client == m.ClientID }) {
				j.fault(m.Chat, "holds %s, which nobody sent", m.ClientID)
			}
		}
	}
}

func (j *judge) outcome(id chat.ID, k *knowledge) {
	if k.accepted {
		if _, there := j.rows[k.Number]; !there {
			if !j.deleted(id) {
				j.fault(id, "%s was accepted, and its chat %d is gone", k.Client, k.Number)
			}
			return
		}
		j.acceptedOutcome(id, k)
		return
	}
	for n, c := range j.rows {
		if c.ID != id {
			continue
		}
		history, queued := j.stored(n, k.Client)
		if count := len(history) + len(queued); count > 0 && !k.unknown || count > 1 {
			j.fault(id, "%s was not accepted (%s) and is there %d times", k.Client, k.Why, count)
		}
	}
}

func (j *judge) acceptedOutcome(id chat.ID, k *knowledge) {
	history, queued := j.stored(k.Number, k.Client)
	sent, all, away := j.stories[k.Number].lineage(k.Client)
	j.arrivals(id, k, sent)
	if len(all) == 0 || k.ID != 0 && !contains(all, k.ID) {
		j.fault(id, "%s was accepted as message %d, and came into the history as %v", k.Client, k.ID, ids(all))
		return
	}
	if away && len(history)+len(queued) == 0 {
		return // somebody cut it off: that is its outcome
	}
	if len(history) != 1 || len(queued) != 0 {
		j.fault(id, "%s was accepted, and is %d times in history, %d times in the queue", k.Client, len(history), len(queued))
		return
	}
	m, last := history[0], all[len(all)-1]
	if m.Text() != last.Text() || *m.ID != *last.ID {
		j.fault(id, "%s is message %d %q, and is stored as %d %q", k.Client, *last.ID, last.Text(), *m.ID, m.Text())
	}
	finals := 0
	for _, other := range j.messages[k.Number] {
		if other.Turn == m.Turn && other.Ends() {
			finals++
		}
	}
	if finals != 1 {
		j.fault(id, "%s was accepted and has %d outcomes in turn %d", k.Client, finals, m.Turn)
	}
}

// arrivals: a message is stored as it was sent, and again only after it was cut off, by a try that had no answer then.
func (j *judge) arrivals(id chat.ID, k *knowledge, sent []arrival) {
	tries := slices.DeleteFunc(slices.Clone(j.asked[id]), func(r request) bool { return r.Client != k.Client || r.Result == refused })
	if len(sent) > len(tries) {
		j.fault(id, "%s was sent %d times, and stored %d times", k.Client, len(tries), len(sent))
	}
	for i, s := range sent {
		open := func(r request) bool { return r.Result == unknown || !r.Done.Before(s.cut) }
		if i > 0 && !slices.ContainsFunc(tries, open) {
			j.fault(id, "%s came back at %s, and when it was cut off all tries of it had been answered", k.Client, s.at.Format("15:04:05.000"))
		}
		if s.message.Text() != k.Text {
			j.fault(id, "%s was sent as %q, and stored as %q", k.Client, k.Text, s.message.Text())
		}
	}
}

// order: a chat has one sender, who sends a message only after the one before was answered for. So ids follow the order of acceptance. A truncation
// keeps it: what it gives a new id is the last of the history then, and before all that waits. What was cut off and came later once more has no place in it.
func (j *judge) order() {
	for id, requests := range j.asked {
		last := map[chat.Number]chat.Message{}
		for _, k := range told(requests) {
			if !k.accepted {
				continue
			}
			history, _ := j.stored(k.Number, k.Client)
			if sent, _, _ := j.stories[k.Number].lineage(k.Client); len(history) == 0 || len(sent) > 1 {
				continue
			}
			if before, ok := last[k.Number]; ok && *before.ID >= *history[0].ID {
				j.fault(id, "%s (message %d) was accepted after %s (message %d)", k.Client, *history[0].ID, before.ClientID, *before.ID)
			}
			last[k.Number] = history[0]
		}
	}
}

func (j *judge) rest() {
	for _, c := range j.rows {
		if c.Status != chat.Waiting && c.Status != chat.Parked || c.Queued > 0 {
			j.fault(c.ID, "is %s with %d queued", c.Status, c.Queued)
		}
	}
}

func (j *judge) invariants() {
	if err := chattest.CheckInvariants(j.Rows); err != nil {
		for line := range strings.Lines(err.Error()) {
			id, what, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "chat "), ": ")
			j.fault(chat.ID(id), "%s", what)
		}
	}
}

// owners follows every row: versions and epochs rise, and in one epoch only one worker ever owns the chat.
func (j *judge) owners() {
	for _, moves := range j.moves {
		owner := map[int64]chat.WorkerID{}
		for i, m := range moves {
			if m.Worker != "" && owner[m.Epoch] != "" && owner[m.Epoch] != m.Worker {
				j.fault(m.Chat, "epoch %d was owned by %s and by %s", m.Epoch, owner[m.Epoch], m.Worker)
			}
			if m.Worker != "" {
				owner[m.Epoch] = m.Worker
			}
			if i == 0 || m.Op == "DELETE" {
				continue
			}
			before := moves[i-1]
			if m.Epoch < before.Epoch || m.Version < before.Version || m.Version > before.Version+1 {
				j.fault(m.Chat, "epoch %d version %d follows epoch %d version %d", m.Epoch, m.Version, before.Epoch, before.Version)
			}
			if before.Status == chat.Running && m.Worker != "" && m.Worker != before.Worker {
				j.fault(m.Chat, "%s took it from %s without a hand-off", m.Worker, before.Worker)
			}
		}
	}
}
