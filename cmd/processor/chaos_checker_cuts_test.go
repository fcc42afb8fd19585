package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

// cuts: a history grows at its end. What leaves it is the failure that a retry takes away, or what somebody asked to cut: that message and all
// behind it, at once and for ever.
func (j *judge) cuts() {
	for n, story := range j.stories {
		for _, c := range story {
			j.chapter(c)
		}
		if _, there := j.rows[n]; there {
			j.ends(n, story)
		}
	}
	for _, requests := range j.asked {
		for _, r := range requests {
			if r.Op == "truncate" && r.Result == accepted {
				j.acceptedCut(r)
			}
		}
	}
}

func (j *judge) chapter(c chapter) {
	if len(c.taken) == 0 || c.ended() || c.retried() {
		return
	}
	t, is := c.cut()
	if !is {
		j.fault(j.chatOf(c), "messages %v left the history %v, and %v came: that is no cut and no retry", ids(c.taken), ids(c.before), ids(c.written))
		return
	}
	caused := func(r request) bool {
		return r.Op == "truncate" && r.Result != refused && r.Message == *t.head.ID && t.anew.Text() == orElse(r.Text, t.head.Text()) &&
			(r.Version == 0 || r.Version == t.move.Version-1)
	}
	if !slices.ContainsFunc(j.asked[t.move.Chat], caused) {
		j.fault(t.move.Chat, "message %d was cut off and became %d %q, and nobody had asked for that", *t.head.ID, *t.anew.ID, t.anew.Text())
	}
}

func (j *judge) chatOf(c chapter) chat.ID {
	if len(c.moves) == 0 {
		return ""
	}
	return c.moves[0].Chat
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func ids(messages []chat.Message) []int64 {
	all := make([]int64, len(messages))
	for i, m := range messages {
		all[i] = *m.ID
	}
	return all
}

// acceptedCut: who was told that a message was cut off, and what it became, was told the truth, and nobody else was told the same.
func (j *judge) acceptedCut(r request) {
	is := func(t cut) bool { return *t.head.ID == r.Message && *t.anew.ID == r.ID }
	if !slices.ContainsFunc(j.stories[r.Number].cuts(), is) {
		j.fault(r.Chat, "%s was told that message %d was cut off and became %d, and it was not so", r.Who, r.Message, r.ID)
	}
	same := 0
	for _, other := range j.asked[r.Chat] {
		if other.Op == "truncate" && other.Result == accepted && other.Message == r.Message {
			same++
		}
	}
	if same > 1 {
		j.fault(r.Chat, "%d were told that message %d was cut off for them", same, r.Message)
	}
}

// ends: Postgres holds what was written and not taken, as it was written.
func (j *judge) ends(n chat.Number, story chronicle) {
	want, got := story.history(), j.messages[n]
	same := func(a, b chat.Message) bool {
		return *a.ID == *b.ID && a.Turn == b.Turn && a.Epoch == b.Epoch && a.Role == b.Role && a.Finish == b.Finish && a.Text() == b.Text()
	}
	if !slices.EqualFunc(want, got, same) {
		j.fault(j.rows[n].ID, "holds messages %v, and those written and never taken are %v", ids(got), ids(want))
	}
}

// prompts: the model is asked what the history held when its turn was claimed. So no turn ever hears of what was cut off before.
func (j *judge) prompts() {
	held := map[string][]string{}
	for _, story := range j.stories {
		for _, c := range story {
			for _, m := range c.moves {
				if m.Status == chat.Running {
					claim := claimed(string(m.Chat), m.Turn, m.Epoch)
					held[claim] = append(held[claim], promptOf(c.after))
				}
			}
		}
	}
	for _, c := range j.Calls {
		k := keyOf(c.ID)
		want, got := held[claimed(k.chat, k.turn, k.epoch)], askedIn(c)
		if len(want) > 0 && !slices.Contains(want, got) {
			j.fault(chat.ID(k.chat), "%s was asked\n%s\nand the history was\n%s", c.ID, got, strings.Join(want, "\nor\n"))
		}
	}
}

func claimed(id string, turn int, epoch int64) string {
	return fmt.Sprintf("%s/%d/%d", id, turn, epoch)
}

// promptOf is what a model is to be asked: of failures and of answers without a word nothing, and in one piece what a user says in a row.
func promptOf(history []chat.Message) string {
	var lines []string
	var last chat.Role
	for _, m := range history {
		switch text := m.Text(); {
		case m.Finish == chat.Failed || text == "":
		case m.Role == chat.User && last == chat.User:
			lines[len(lines)-1] += "\n\n" + text
		default:
			lines, last = append(lines, string(m.Role)+": "+text), m.Role
		}
	}
	return strings.Join(lines, "\n")
}

func askedIn(c llmtest.Call) string {
	var body struct {
		Messages []struct{ Role, Content string }
	}
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return err.Error()
	}
	lines := make([]string, len(body.Messages))
	for i, m := range body.Messages {
		lines[i] = m.Role + ": " + m.Content
	}
	return strings.Join(lines, "\n")
}
