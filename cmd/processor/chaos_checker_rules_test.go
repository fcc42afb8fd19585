package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/chat/llm/llmtest"
)

// scene is a history made by hand: one chat, whose first message was answered and whose second was interrupted. Its replica a1 was killed and its
// chat taken over by b1.
type scene struct{ history }

func at(seconds float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func text(words ...string) []chat.Part {
	joined := ""
	for _, w := range words {
		joined += w
	}
	return []chat.Part{{Type: chat.TextPart, Text: joined}}
}

func newScene() *scene {
	one, two := question("s-1", 3, 0), question("s-2", 9, 0)
	id := func(n int64) *int64 { return &n }
	messages := []chat.Message{
		{ID: id(1), Chat: "c", Turn: 1, Role: chat.User, Parts: text(one), ClientID: "s-1"},
		{ID: id(2), Chat: "c", Turn: 1, Step: 1, Epoch: 3, Role: chat.Assistant, Parts: text(saying("s-1", 3, 3)...), Finish: chat.Stop},
		{ID: id(3), Chat: "c", Turn: 2, Epoch: 3, Role: chat.User, Parts: text(two), ClientID: "s-2"},
		{ID: id(4), Chat: "c", Turn: 2, Step: 1, Epoch: 3, Role: chat.Assistant, Parts: text(saying("s-2", 3, 2)...), Finish: chat.Interrupted},
	}
	s := &scene{history{LostAfter: 6 * time.Second, SuspectAfter: time.Second}}
	s.Rows.Chats = []chattest.ChatRow{{Chat: chat.Chat{Number: 1, ID: "c", Status: chat.Waiting, Version: 7, Turn: 2, Step: 1, Epoch: 3}}}
	for _, m := range messages {
		s.Rows.Messages = append(s.Rows.Messages, chattest.MessageRow{Number: 1, Message: m})
	}
	s.Requests = []request{
		{At: at(1), Op: "create", Chat: "c", Client: "s-1", Text: one, Result: unknown},
		{At: at(1), Op: "create", Chat: "c", Client: "s-1", Text: one, Result: accepted, Number: 1, ID: 1},
		{At: at(2), Op: "send", Chat: "c", Client: "s-2", Text: two, Result: accepted, Number: 1},
		{At: at(2), Op: "send", Chat: "c", Client: "s-3", Text: two, Result: refused},
		{At: at(6), Op: "interrupt", Chat: "c", Turn: 2, Result: unknown},
	}
	s.Moves = []move{
		{At: at(1), Op: "INSERT", Number: 1, Chat: "c", Status: chat.Pending, Version: 1, Turn: 1},
		{At: at(2), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Running, Version: 2, Epoch: 1, Turn: 1, Worker: "wa"},
		{At: at(2), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Running, Version: 3, Epoch: 1, Turn: 1, Worker: "wa", Queued: 1},
		{At: at(5), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Pending, Version: 4, Epoch: 2, Turn: 1, Takeovers: 1, Queued: 1},
		{At: at(5), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Running, Version: 5, Epoch: 3, Turn: 1, Takeovers: 1, Worker: "wb", Queued: 1},
		{At: at(6), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Running, Version: 6, Epoch: 3, Turn: 2, Worker: "wb"},
		{At: at(7), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Waiting, Version: 7, Epoch: 3, Turn: 2, Step: 1},
	}
	s.note(0, messages[0])
	s.note(5, messages[1], messages[2])
	s.note(6, messages[3])
	s.Calls = []llmtest.Call{
		{ID: "c/1/1/1/1", Outcome: llmtest.Left, Body: promptWith(messages[:1])}, {ID: "c/1/1/3/1", Outcome: llmtest.Finished, Body: promptWith(messages[:1])},
		{ID: "c/2/1/3/1", Outcome: llmtest.Left, Body: promptWith(messages[:3])},
	}
	s.Lives = []life{
		{Slot: "a", Name: "a1", Started: at(0), Killed: at(3), Stopped: at(3), Workers: []chat.WorkerID{"wa"}},
		{Slot: "b", Name: "b1", Started: at(0), Workers: []chat.WorkerID{"wb"}},
	}
	s.Losses = []loss{{At: at(5), Worker: "wa", Name: "a1", Cause: chat.LostGone}}
	w := watch{Who: "w", Chat: "c", Alive: true}
	for _, m := range messages {
		w.Seen = append(w.Seen, sight{Type: chat.MessageEvent, ID: *m.ID, Role: m.Role, Finish: m.Finish, Text: m.Text()})
	}
	left := watch{Who: "v", Chat: "c", Seen: w.Seen[:2:2]}
	s.Watches = []watch{w, left}
	return s
}

// note makes messages part of a move, and the move of a transaction.
func (s *scene) note(move int, messages ...chat.Message) {
	for _, m := range messages {
		s.Entries = append(s.Entries, entry{Seq: int64(10*move + 1), Tx: int64(move + 1), Op: "INSERT", Number: 1, Message: m})
	}
	for i := range s.Moves {
		s.Moves[i].Seq, s.Moves[i].Tx = int64(10*i), int64(i+1)
	}
}

// promptWith is what a model is asked about a history.
func promptWith(history []chat.Message) json.RawMessage {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var body struct {
		Messages []message `json:"messages"`
	}
	for _, m := range history {
		body.Messages = append(body.Messages, message{string(m.Role), m.Text()})
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return raw
}

// message changes a stored message.
func (s *scene) message(i int, change func(*chat.Message)) { change(&s.Rows.Messages[i].Message) }

func TestTheCheckerFindsNothingInAGoodHistory(t *testing.T) {
	t.Parallel()
	for _, v := range verdict(newScene().history) {
		t.Error(v)
	}
}

// TestTheCheckerFindsEachBreach breaks the good history in one place a time.
func TestTheCheckerFindsEachBreach(t *testing.T) {
	t.Parallel()
	outcome, order, transcript, rest := rules()[0].name, rules()[1].name, rules()[2].name, rules()[3].name
	invariant, owner, called, answer := rules()[4].name, rules()[5].name, rules()[6].name, rules()[7].name
	interrupt, charge, lost, death := rules()[8].name, rules()[9].name, rules()[10].name, rules()[11].name
	for name, test := range map[string]struct {
		rule   string
		breach func(*scene)
	}{
		"an accepted message is not there":     {outcome, func(s *scene) { s.message(2, func(m *chat.Message) { m.ClientID = "s-9" }) }},
		"an accepted message is there twice":   {outcome, func(s *scene) { s.Rows.Messages = append(s.Rows.Messages, s.Rows.Messages[2]) }},
		"an accepted message still waits":      {outcome, func(s *scene) { s.Rows.Queue = []chattest.MessageRow{s.Rows.Messages[2]} }},
		"an accepted message has no outcome":   {outcome, func(s *scene) { s.message(3, func(m *chat.Message) { m.Finish = "" }) }},
		"an accepted message has two outcomes": {outcome, func(s *scene) { s.Rows.Messages = append(s.Rows.Messages, s.Rows.Messages[3]) }},
		"an accepted message has another text": {outcome, func(s *scene) { s.message(2, func(m *chat.Message) { m.Parts = text("?") }) }},
		"an accepted message's chat is gone":   {outcome, func(s *scene) { s.Rows.Chats, s.Rows.Messages = nil, nil }},
		"a refused message is there":           {outcome, func(s *scene) { s.Requests[2].Result = refused }},
		"an unanswered message is there twice": {outcome, func(s *scene) {
			s.Requests[2].Result = unknown
			s.Rows.Messages = append(s.Rows.Messages, s.Rows.Messages[2])
		}},
		"nobody sent a message": {outcome, func(s *scene) { s.Requests = slices.Delete(s.Requests, 2, 3) }},
		"messages change places": {order, func(s *scene) {
			s.Requests[2], s.Requests[1] = s.Requests[1], s.Requests[2]
			s.Requests = s.Requests[1:]
		}},
		"a watcher misses the last message":     {transcript, func(s *scene) { s.Watches[0].Seen = s.Watches[0].Seen[:3] }},
		"a watcher who left saw something else": {transcript, func(s *scene) { s.Watches[1].Seen[1].Text = "?" }},
		"a watcher sees a message twice":        {transcript, func(s *scene) { s.Watches[0].Seen = append(s.Watches[0].Seen, s.Watches[0].Seen[3]) }},
		"a watcher is shown what is not said":   {transcript, func(s *scene) { s.Watches[0].Seen[1].Shown = "ghost" }},
		"a watcher is told of a deletion":       {transcript, func(s *scene) { s.Watches[0].Gone = true }},
		"a chat is running":                     {rest, func(s *scene) { s.Rows.Chats[0].Chat.Status = chat.Running }},
		"a parked chat keeps its queue":         {rest, func(s *scene) { s.Rows.Chats[0].Chat.Status, s.Rows.Chats[0].Chat.Queued = chat.Parked, 1 }},
		"a row counts wrong":                    {invariant, func(s *scene) { s.Rows.Chats[0].Chat.Turn = 3 }},
		"two owners have one epoch":             {owner, func(s *scene) { s.Moves[3].Epoch, s.Moves[4].Epoch = 1, 1 }},
		"an epoch falls":                        {owner, func(s *scene) { s.Moves[6].Epoch = 2 }},
		"a version is left out":                 {owner, func(s *scene) { s.Moves[6].Version = 8 }},
		"an owner changes without a hand-off":   {owner, func(s *scene) { s.Moves[5].Worker, s.Moves[5].Epoch = "wc", 4 }},
		"a call has no claim":                   {called, func(s *scene) { s.Calls[2].ID = "c/2/1/4/1" }},
		"a call is made twice":                  {called, func(s *scene) { s.Calls = append(s.Calls, s.Calls[1]) }},
		"an answer is another message's":        {answer, func(s *scene) { s.message(1, func(m *chat.Message) { m.Parts = text(saying("s-2", 3, 3)...) }) }},
		"an answer is another epoch's":          {answer, func(s *scene) { s.message(1, func(m *chat.Message) { m.Parts = text(saying("s-1", 1, 3)...) }) }},
		"an answer has words of two epochs": {answer, func(s *scene) {
			s.message(1, func(m *chat.Message) { m.Parts = text(saying("s-1", 1, 1)[0], saying("s-1", 3, 3)[1]) })
		}},
		"an answer stops too early": {answer, func(s *scene) { s.message(1, func(m *chat.Message) { m.Parts = text(saying("s-1", 3, 2)...) }) }},
		"no call said the answer":   {answer, func(s *scene) { s.Calls[1].Outcome = llmtest.Cut }},
		"a turn panicked": {answer, func(s *scene) {
			s.message(3, func(m *chat.Message) { m.Finish, m.Error = chat.Failed, &chat.TurnError{Code: "panic"} })
		}},
		"nobody interrupted that turn": {interrupt, func(s *scene) { s.Requests[4].Turn = 1 }},
		"a deploy is charged":          {charge, func(s *scene) { s.Lives[0].Killed, s.Lives[0].Ended = time.Time{}, at(3) }},
		"poison without deaths": {charge, func(s *scene) {
			s.message(3, func(m *chat.Message) { m.Finish, m.Error = chat.Failed, &chat.TurnError{Code: "poison"} })
		}},
		"a live worker is lost": {lost, func(s *scene) { s.Losses[0].Worker, s.Losses[0].Name = "wb", "b1" }},
		"a worker is lost after a short stall": {lost, func(s *scene) {
			s.Losses = append(s.Losses, loss{At: at(20), Worker: "wb", Name: "b1", Cause: chat.LostAge})
			s.Troubles = []trouble{{"b", "postgres", at(14), at(15)}}
		}},
		"a worker is lost with NATS alone": {lost, func(s *scene) {
			s.Losses = append(s.Losses, loss{At: at(20), Worker: "wb", Name: "b1", Cause: chat.LostGone})
			s.Troubles = []trouble{{"b", "nats", at(10), at(20)}}
		}},
		"a replica ends by itself": {death, func(s *scene) { s.Lives[1].Stopped = at(9) }},
		"a replica does not end":   {death, func(s *scene) { s.Lives[1].Ended = at(9) }},
		"a replica has a race":     {death, func(s *scene) { s.Lives[1].Races = 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			test.breach(s)
			found := verdict(s.history)
			if !slices.ContainsFunc(found, func(v violation) bool { return v.Rule == test.rule }) {
				t.Errorf("nothing breaks %q; found: %v", test.rule, found)
			}
		})
	}
}

// TestTheCheckerExcusesWhatThePlanDid has losses that look the same from inside.
func TestTheCheckerExcusesWhatThePlanDid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause    chat.LostCause
		troubles []trouble
	}{
		"frozen past the lease":             {chat.LostAge, []trouble{{"b", "itself", at(13.5), at(22)}}},
		"Postgres stalled past the lease":   {chat.LostAge, []trouble{{"b", "postgres", at(13.5), at(17)}, {"", "postgres", at(18), at(20)}}},
		"cut off from both servers at once": {chat.LostGone, []trouble{{"b", "postgres", at(18), at(21)}, {"", "nats", at(19), at(21)}}},
	} {
		s := newScene()
		s.Losses = append(s.Losses, loss{At: at(20), Worker: "wb", Name: "b1", Cause: test.cause})
		s.Troubles = test.troubles
		if found := verdict(s.history); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}
