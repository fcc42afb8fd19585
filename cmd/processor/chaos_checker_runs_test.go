package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

// calls: the provider is called once for each attempt of each claim, by whom the row names as the owner then.
func (j *judge) calls() {
	claims := map[string]bool{}
	for _, m := range j.Moves {
		if m.Status == chat.Running && m.Op != "DELETE" {
			claims[chat.Call{Chat: m.Chat, Turn: m.Turn, Step: m.Step + 1, Epoch: m.Epoch, Attempt: m.Attempts + 1}.String()] = true
		}
	}
	seen := map[string]int{}
	for _, c := range j.Calls {
		seen[c.ID]++
		if n := seen[c.ID]; n == 2 && !j.deleted(chat.ID(c.Chat())) { // a chat made again under its id counts anew
			j.fault(chat.ID(c.Chat()), "%s was called twice", c.ID)
		}
		if !claims[c.ID] {
			j.fault(chat.ID(c.Chat()), "%s was called, and no row was ever so", c.ID)
		}
	}
}

// answers: what is committed is what one call said, for this message and no other; complete, if it says so, and of the owner's own epoch.
func (j *judge) answers() {
	said := map[string]bool{}
	for _, c := range j.Calls {
		if c.Outcome == llmtest.Finished {
			k := keyOf(c.ID)
			said[spoken(k.chat, k.turn, k.step, k.epoch)] = true
		}
	}
	for n, messages := range j.messages {
		asked := map[int]chat.Message{}
		for _, m := range messages {
			if m.Role == chat.User {
				asked[m.Turn] = m
				continue
			}
			j.answer(m, asked[m.Turn])
			if m.Finish == chat.Stop && !said[spoken(string(m.Chat), m.Turn, m.Step, m.Epoch)] {
				j.fault(j.rows[n].ID, "message %d was committed in epoch %d, and no call of that epoch was answered", *m.ID, m.Epoch)
			}
		}
	}
}

func spoken(id string, turn, step int, epoch int64) string {
	return strings.Join([]string{id, strconv.Itoa(turn), strconv.Itoa(step), strconv.FormatInt(epoch, 10)}, "/")
}

func (j *judge) answer(m, asked chat.Message) {
	client, want, _ := parseQuestion(asked.Text())
	words := strings.Fields(m.Text())
	epoch := m.Epoch
	if len(words) > 0 {
		parts := strings.Split(words[0], "/")
		epoch, _ = strconv.ParseInt(parts[min(1, len(parts)-1)], 10, 64)
	}
	text := strings.Join(saying(client, epoch, len(words)), "")
	switch {
	case m.Text() != text || len(words) > want:
		j.fault(m.Chat, "message %d of turn %d is no answer to %q: %q", *m.ID, m.Turn, asked.Text(), m.Text())
	case epoch > m.Epoch, m.Finish == chat.Stop && epoch != m.Epoch:
		j.fault(m.Chat, "message %d of epoch %d has the words of epoch %d", *m.ID, m.Epoch, epoch)
	case m.Finish == chat.Stop && len(words) != want:
		j.fault(m.Chat, "message %d stopped after %d of %d words", *m.ID, len(words), want)
	case m.Finish == chat.Failed && !slices.Contains(expectedErrors(), m.Error.Code):
		j.fault(m.Chat, "message %d failed with %s: %s", *m.ID, m.Error.Code, m.Error.Message)
	}
}

// expectedErrors are what a provider in a bad mood, or out of reach, can end a turn with. Of the last two the charges tell more.
func expectedErrors() []string {
	return []string{
		chat.CodeRateLimited, chat.CodeUnavailable, chat.CodeAuth, chat.CodeConnection, chat.CodeStalled, chat.CodeBadResponse, "poison", "too_many_recoveries",
	}
}

func (j *judge) interrupts() {
	for n, messages := range j.messages {
		id := j.rows[n].ID
		for _, m := range messages {
			asked := func(r request) bool {
				return r.Result != refused && (r.Op == "interrupt" && (r.Turn == 0 || r.Turn == m.Turn) || r.Op == "send" && r.Busy == chat.BusyInterrupt)
			}
			if m.Finish == chat.Interrupted && !slices.ContainsFunc(j.asked[id], asked) {
				j.fault(id, "turn %d was interrupted, and nobody had asked for it", m.Turn)
			}
		}
	}
}

// transcripts: who watched to the end has what Postgres has, who left earlier a beginning of it; and nobody was shown words of an answer
// that it does not have, unless they were declared void.
func (j *judge) transcripts() {
	numbers := map[chat.ID]chat.Number{}
	for n, c := range j.rows {
		numbers[c.ID] = n
	}
	for _, w := range j.Watches {
		removable := j.deleted(w.Chat)
		if (w.Gone || w.Err != "") && !removable {
			j.fault(w.Chat, "%s was told that it is gone (%s)", w.Who, w.Err)
		}
		last := w.After
		for _, s := range w.Seen {
			if s.Type != chat.MessageEvent {
				continue
			}
			if s.ID <= last {
				j.fault(w.Chat, "%s saw message %d after message %d", w.Who, s.ID, last)
			}
			if !strings.HasPrefix(s.Text, s.Shown) {
				j.fault(w.Chat, "%s was shown %.80q of message %d, which is %.80q", w.Who, s.Shown, s.ID, s.Text)
			}
			last = s.ID
		}
		if w.Alive && w.Left != "" && !removable {
			j.fault(w.Chat, "%s still shows %.80q, which is in no message", w.Who, w.Left)
		}
		if !removable {
			j.transcript(w, numbers[w.Chat])
		}
	}
}

func (j *judge) transcript(w watch, n chat.Number) {
	known := w.known()
	histories := [][]chat.Message{j.messages[n]}
	if !w.Alive { // it may have left before a retry or a truncation
		histories = append(histories, j.stories[n].longest()...)
	}
	for i, messages := range histories {
		want := slices.DeleteFunc(slices.Clone(messages), func(m chat.Message) bool { return *m.ID <= w.After })
		different := difference(known, want)
		switch {
		case different == "" && (!w.Alive || len(known) == len(want)):
			return
		case i == len(histories)-1:
			j.fault(w.Chat, "%s ends with %d messages after %d, and there are %d; %s", w.Who, len(known), w.After, len(want), different)
		}
	}
}

// difference says where somebody's messages are not the beginning of a history.
func difference(known []sight, want []chat.Message) string {
	for i, s := range known {
		if i == len(want) {
			return fmt.Sprintf("it has %d %s %s %.60q beyond the end", s.ID, s.Role, s.Finish, s.Text)
		}
		m := want[i]
		if s.ID != *m.ID || s.Role != m.Role || s.Finish != m.Finish || s.Text != m.Text() {
			return fmt.Sprintf("it has %d %s %s %.60q where there is %d %s %s %.60q", s.ID, s.Role, s.Finish, s.Text, *m.ID, m.Role, m.Finish, m.Text())
		}
	}
	return ""
}

// late is how much later than a fault's end what it caused may show: two cores run everything, race detector included. early is how long before
// its start a worker may have beaten last.
const (
	late  = 3 * time.Second
	early = time.Second
)

// charges: takeovers rises only when the plan killed the owner, or cut it off from Postgres and NATS at once, which nobody can tell from
// death. So a deploy costs nothing, and a chat that is parked as poison had three owners that died.
func (j *judge) charges() {
	for _, moves := range j.moves {
		for i := 1; i < len(moves); i++ {
			before, m := moves[i-1], moves[i]
			if m.Takeovers <= before.Takeovers {
				continue
			}
			if l, ok := j.life(j.names[before.Worker]); !ok || !j.dead(l, m.At) {
				j.fault(m.Chat, "a takeover from %s (%s), which was not killed, was charged", j.names[before.Worker], before.Worker)
			}
		}
	}
	for _, messages := range j.messages {
		for _, m := range messages {
			if m.Error != nil && m.Error.Code == "poison" && !j.poisoned(m) {
				j.fault(m.Chat, "turn %d was parked as poison without three deaths", m.Turn)
			}
		}
	}
}

// poisoned says whether the row had as many takeovers when it was parked as the law asks for.
func (j *judge) poisoned(m chat.Message) bool {
	return slices.ContainsFunc(j.Moves, func(v move) bool {
		return v.Chat == m.Chat && v.Turn == m.Turn && v.Error == "poison" && v.Takeovers >= chat.ParkAt
	})
}

func (j *judge) life(name string) (life, bool) {
	i := slices.IndexFunc(j.Lives, func(l life) bool { return l.Name == name })
	if i < 0 {
		return life{}, false
	}
	return j.Lives[i], true
}

// dead says whether a process was killed by then, or looked so: silent at Postgres and nowhere to be found on NATS.
func (j *judge) dead(l life, at time.Time) bool {
	if !l.Killed.IsZero() && l.Killed.Before(at) {
		return true
	}
	return j.covered(l.Slot, []string{"postgres", "itself"}, at.Add(-j.SuspectAfter), at) && j.covered(l.Slot, []string{"nats"}, at, at)
}

// losses: a worker is lost when it was killed or has ended, when it looked so, or when it could not beat for as long as its lease lasts. Without
// a fault in its way to Postgres nobody may lose it.
func (j *judge) losses() {
	for _, l := range j.Losses {
		owner, ok := j.life(l.Name)
		if !ok {
			j.fault("", "%s was lost and is nobody's worker", l.Worker)
			continue
		}
		ended := !owner.Stopped.IsZero() && owner.Stopped.Before(l.At.Add(time.Second))
		silent := j.covered(owner.Slot, []string{"postgres", "itself"}, l.At.Add(-j.LostAfter), l.At)
		if !ended && !j.dead(owner, l.At) && (l.Cause != chat.LostAge || !silent) {
			j.fault("", "%s (%s) was declared lost at %s, cause %s, and the plan had left it alone", l.Name, l.Worker, l.At.Format("15:04:05.000"), l.Cause)
		}
	}
}

// covered says whether faults in a slot's way, each with what comes early and late of it, leave no time free between two moments.
func (j *judge) covered(slot string, with []string, from, to time.Time) bool {
	windows := slices.DeleteFunc(slices.Clone(j.Troubles), func(t trouble) bool {
		return t.Slot != "" && t.Slot != slot || !slices.Contains(with, t.With)
	})
	slices.SortFunc(windows, func(a, b trouble) int { return a.From.Compare(b.From) })
	if len(windows) == 0 {
		return false
	}
	for _, w := range windows {
		if w.From.Add(-early).After(from) {
			return false
		}
		if end := w.To.Add(late); end.After(from) {
			from = end
		}
		if !from.Before(to) {
			return true
		}
	}
	return false
}

// deaths: a replica ends when it is told to or killed, within its time, and without a race or a panic.
func (j *judge) deaths() {
	for _, l := range j.Lives {
		told := !l.Killed.IsZero() || !l.Ended.IsZero()
		if !l.Stopped.IsZero() && !told {
			j.fault("", "replica %s ended by itself with %d, see %s", l.Name, l.Code, l.Log)
		}
		if l.Races+l.Panics > 0 {
			j.fault("", "replica %s has %d races, %d panics, see %s", l.Name, l.Races, l.Panics, l.Log)
		}
		if !l.Ended.IsZero() && l.Killed.IsZero() && l.Stopped.IsZero() {
			j.fault("", "replica %s was told to end and did not, see %s", l.Name, l.Log)
		}
	}
}
