package main

import (
	"slices"
	"testing"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/chat/llm/llmtest"
)

// newCut goes on with the scene: a third message waits for its turn to be over, is answered, and is cut off when somebody edits the second, which
// is answered anew.
func newCut() *scene {
	s := newScene()
	three, edited := question("s-4", 2, 0), question("t-1", 4, 0)
	id := func(n int64) *int64 { return &n }
	asked := chat.Message{ID: id(5), Chat: "c", Turn: 3, Epoch: 3, Role: chat.User, Parts: text(three), ClientID: "s-4"}
	answered := chat.Message{ID: id(6), Chat: "c", Turn: 3, Step: 1, Epoch: 4, Role: chat.Assistant, Parts: text(saying("s-4", 4, 2)...), Finish: chat.Stop}
	anew := chat.Message{ID: id(7), Chat: "c", Turn: 4, Epoch: 5, Role: chat.User, Parts: text(edited), ClientID: "s-2"}
	final := chat.Message{ID: id(8), Chat: "c", Turn: 4, Step: 1, Epoch: 6, Role: chat.Assistant, Parts: text(saying("t-1", 6, 4)...), Finish: chat.Stop}
	s.Moves = append(s.Moves,
		move{At: at(8), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Pending, Version: 8, Epoch: 3, Turn: 3},
		move{At: at(9), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Running, Version: 9, Epoch: 4, Turn: 3, Worker: "wb"},
		move{At: at(10), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Waiting, Version: 10, Epoch: 4, Turn: 3, Step: 1},
		move{At: at(11), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Pending, Version: 11, Epoch: 5, Turn: 4},
		move{At: at(12), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Running, Version: 12, Epoch: 6, Turn: 4, Worker: "wb"},
		move{At: at(13), Op: "UPDATE", Number: 1, Chat: "c", Status: chat.Waiting, Version: 13, Epoch: 6, Turn: 4, Step: 1},
	)
	before := []chat.Message{s.Rows.Messages[0].Message, s.Rows.Messages[1].Message, s.Rows.Messages[2].Message, s.Rows.Messages[3].Message}
	s.note(7, asked)
	s.note(9, answered)
	for _, m := range []chat.Message{before[2], before[3], asked, answered} {
		s.Entries = append(s.Entries, entry{Seq: 101, Tx: 11, Op: "DELETE", Number: 1, Message: m})
	}
	s.note(10, anew)
	s.note(12, final)
	s.Rows.Messages = append(s.Rows.Messages[:2], chattest.MessageRow{Number: 1, Message: anew}, chattest.MessageRow{Number: 1, Message: final})
	s.Rows.Chats[0].Chat.Version, s.Rows.Chats[0].Chat.Turn, s.Rows.Chats[0].Chat.Epoch = 13, 4, 6
	s.Requests = append(s.Requests,
		request{At: at(8), Done: at(8), Op: "send", Chat: "c", Client: "s-4", Text: three, Result: accepted, Number: 1, ID: 5},
		request{At: at(11), Done: at(11), Op: "truncate", Chat: "c", Message: 3, Text: edited, Version: 10, Result: accepted, Number: 1, ID: 7},
		request{At: at(11), Done: at(11), Op: "truncate", Chat: "c", Message: 3, Text: edited, Result: refused},
	)
	s.Calls = append(s.Calls,
		llmtest.Call{ID: "c/3/1/4/1", Outcome: llmtest.Finished, Body: promptWith(append(before[:4:4], asked))},
		llmtest.Call{ID: "c/4/1/6/1", Outcome: llmtest.Finished, Body: promptWith(append(before[:2:2], anew))},
	)
	seen := func(m chat.Message) sight {
		return sight{Type: chat.MessageEvent, ID: *m.ID, Role: m.Role, Finish: m.Finish, Text: m.Text()}
	}
	stays, leaves := &s.Watches[0], &s.Watches[1]
	leaves.Seen = append(slices.Clone(stays.Seen), seen(asked))
	stays.Seen = append(stays.Seen, seen(asked), seen(answered), sight{Type: chat.RemovedEvent, From: 3, ID: 6}, seen(anew), seen(final))
	return s
}

func TestTheCheckerFindsNothingInAGoodCut(t *testing.T) {
	t.Parallel()
	for _, v := range verdict(newCut().history) {
		t.Error(v)
	}
}

// TestTheCheckerFindsEachBreachOfACut breaks the good history in one place a time.
func TestTheCheckerFindsEachBreachOfACut(t *testing.T) {
	t.Parallel()
	outcome, transcript, gone, prompt := rules()[0].name, rules()[2].name, rules()[12].name, rules()[13].name
	// Of the entries, the fifth to the eighth are taken and the ninth is what came in their place.
	const taken, came, request = 6, 10, 6
	for name, test := range map[string]struct {
		rule   string
		breach func(*scene)
	}{
		"what was cut off stays":         {gone, func(s *scene) { s.Entries = slices.Delete(s.Entries, taken+1, taken+2) }},
		"only the beginning is cut off":  {gone, func(s *scene) { s.Entries = slices.Delete(s.Entries, taken+2, taken+4) }},
		"more is cut off":                {gone, func(s *scene) { s.Requests[request].Message = 5 }},
		"nobody asked for the cut":       {gone, func(s *scene) { s.Requests = slices.Delete(s.Requests, request, request+1) }},
		"a refused cut is made":          {gone, func(s *scene) { s.Requests[request].Result = refused }},
		"a cut is of another version":    {gone, func(s *scene) { s.Requests[request].Version = 9 }},
		"an edit is another":             {gone, func(s *scene) { s.Requests[request].Text = "?" }},
		"a cut tells of another message": {gone, func(s *scene) { s.Requests[request].ID = 8 }},
		"two are told of one cut":        {gone, func(s *scene) { s.Requests = append(s.Requests, s.Requests[request]) }},
		"a cut is told of and not made":  {gone, func(s *scene) { s.Entries = append(s.Entries[:taken:taken], s.Entries[came+1:]...) }},
		"the turn is opened by another":  {gone, func(s *scene) { s.Entries[came].Message.ClientID = "s-9" }},
		"a cut stays in its epoch":       {gone, func(s *scene) { s.Moves[10].Epoch = 4 }},
		"what was cut off is there":      {gone, func(s *scene) { s.Rows.Messages = append(s.Rows.Messages, s.row(taken+1)) }},
		"what was cut off is back":       {outcome, func(s *scene) { s.Rows.Messages = append(s.Rows.Messages, s.row(taken+2)) }},
		"what was cut off came back":     {outcome, (*scene).again},
		"what was answered came back": {outcome, func(s *scene) {
			s.again()
			s.twice(9)
		}},
		"what was sent is stored changed": {outcome, func(s *scene) { s.Entries[4].Message.Parts = text("?") }},
		"a message goes without a cut":    {outcome, func(s *scene) { s.Moves[10].Status = chat.Waiting }},
		"a watcher keeps what is cut off": {transcript, func(s *scene) { s.Watches[0].Seen = slices.Delete(s.Watches[0].Seen, 6, 7) }},
		"a watcher loses what is not":     {transcript, func(s *scene) { s.Watches[0].Seen[6].From = 2 }},
		"a watcher left with a mixture": {transcript, func(s *scene) {
			s.Watches[1].Seen = append(s.Watches[1].Seen, s.Watches[0].Seen[7])
		}},
		"a watcher still shows an answer": {transcript, func(s *scene) { s.Watches[0].Left = "ghost" }},
		"a model hears what is cut off":   {prompt, func(s *scene) { s.Calls[4].Body = s.Calls[3].Body }},
		"a model hears too little":        {prompt, func(s *scene) { s.Calls[4].Body = s.Calls[0].Body }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCut()
			test.breach(s)
			found := verdict(s.history)
			if !slices.ContainsFunc(found, func(v violation) bool { return v.Rule == test.rule }) {
				t.Errorf("nothing breaks %q; found: %v", test.rule, found)
			}
		})
	}
}

// row is the message of an entry as if it were stored.
func (s *scene) row(entry int) chattest.MessageRow {
	return chattest.MessageRow{Number: 1, Message: s.Entries[entry].Message}
}

// again stores the third message once more, after the cut and without a try that could have asked for it.
func (s *scene) again() {
	back := s.Entries[4].Message
	id := int64(9)
	back.ID = &id
	s.Entries = append(s.Entries, entry{Seq: 121, Tx: 13, Op: "INSERT", Number: 1, Message: back})
	s.Rows.Messages = append(s.Rows.Messages, chattest.MessageRow{Number: 1, Message: back})
}

// twice has the third message sent once more, by a try that was answered then.
func (s *scene) twice(answered float64) {
	again := s.Requests[5]
	again.ID, again.Done = 0, at(answered)
	s.Requests = append(s.Requests, again)
}

// TestTheCheckerExcusesASenderWhoDidNotKnow has the message that came back sent twice: the second try was answered after the cut, while the message
// waited in the queue.
func TestTheCheckerExcusesASenderWhoDidNotKnow(t *testing.T) {
	t.Parallel()
	s := newCut()
	s.again()
	s.twice(11.5)
	for _, v := range verdict(s.history) {
		if v.Rule == rules()[0].name && v.What != "s-4 was accepted and has 0 outcomes in turn 3" { // the scene has no answer to it
			t.Error(v)
		}
	}
}
