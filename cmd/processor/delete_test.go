package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/chat/llm/llmtest"
)

// left lists the subjects on which the streams hold something of a chat.
func (a rawAPI) left(id chat.ID) (subjects []string) {
	a.t.Helper()
	js, err := jetstream.New(a.nc)
	a.must(err)
	for _, name := range []string{bus.ChatsStream, bus.PartialsStream} {
		stream, err := js.Stream(a.ctx, name)
		a.must(err)
		info, err := stream.Info(a.ctx, jetstream.WithSubjectFilter("chats.*."+string(id)))
		a.must(err)
		for subject := range info.State.Subjects {
			subjects = append(subjects, subject)
		}
	}
	slices.Sort(subjects)
	return subjects
}

func (d *deployment) delete(id chat.ID) {
	d.t.Helper()
	call[chat.DeleteReply](d, "chats.delete", chat.ChatRequest{Chat: id})
	if e := d.refused("chats.get", chat.ChatRequest{Chat: id}); e.Code != chat.NotFound {
		d.t.Errorf("the deleted chat %s is answered for with %v", id, e)
	}
}

// TestAChatDeletedInMidStreamLeavesNothingToTheNextOfItsID makes the chat again while the old run still holds its model call.
func TestAChatDeletedInMidStreamLeavesNothingToTheNextOfItsID(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	// Without a beat the owner hears of the deletion by the control subject or not at all.
	a.start("a", noBeat()...)
	a.start("b", noBeat()...)
	w := a.watch(a.create("c").ID)
	a.streamsUntilSaved("c")
	a.say("c", "queued")
	old := a.get("c")
	if diff := cmp.Diff([]string{"chats.partial.c"}, a.left("c")); diff != "" {
		t.Errorf("the streams hold of the running chat: %s", diff)
	}
	a.delete("c")
	if left := a.left("c"); left != nil {
		t.Errorf("the streams still hold %v", left)
	}
	a.send("c", "#tokens=6 #hold=3 #gate=second")
	a.held("second")
	a.provider.Gate("c").Open() // for the old call, if it is still there
	calls := a.awaitCalls("c", func(calls []llmtest.Call) bool { return calls[0].Outcome != "" })
	if calls[0].Outcome != llmtest.Left {
		t.Errorf("the old call ended as %s, its owner should have left", calls[0].Outcome)
	}
	a.provider.Gate("second").Open()
	want := []string{"user: #tokens=6 #hold=3 #gate=second", "assistant stop: " + counted(6)}
	if diff := cmp.Diff(want, says(a.answered("c"))); diff != "" {
		t.Errorf("the new chat: %s", diff)
	}
	row := a.get("c")
	if row.Number <= old.Number || row.Turn != 1 || row.Queued != 0 || row.Version != 3 {
		t.Errorf("the new chat is %+v, the old one was %+v", row, old)
	}
	w.ends(want...)
	seen := w.seen()
	gone := slices.IndexFunc(seen, func(e chat.Event) bool { return e.Type == chat.DeletedEvent })
	for i, e := range seen {
		if number := map[bool]chat.Number{true: old.Number, false: row.Number}[i <= gone]; e.Number != number || (e.Type == chat.DeletedEvent) != (i == gone) {
			t.Errorf("event %d of %d is of chat %d, the first chat ended with event %d: %s", i, len(seen), e.Number, gone, describeEvents(seen))
		}
	}
}

// TestAWatchEndsOnceWithItsChat hears of a deletion by its event, and by nothing but the missing row.
func TestAWatchEndsOnceWithItsChat(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.start("a")
	remove := map[chat.ID]func(chat.ID){
		"told": func(id chat.ID) { d.delete(id) },
		"lost": func(id chat.ID) { _, err := d.store.Delete(d.ctx, id); d.must(err) },
	}
	for id, remove := range remove {
		d.send(id, "one")
		d.answered(id)
		var seen []chat.Event
		watcher := chat.Watcher{Feed: feed{d.client}, Compare: 100 * time.Millisecond}
		err := watcher.Watch(d.ctx, id, 0, func(e chat.Event) error {
			if seen = append(seen, e); e.Type == chat.StatusEvent {
				remove(id)
			}
			return nil
		})
		if err != nil || len(seen) != 4 || seen[3].Type != chat.DeletedEvent {
			t.Errorf("%s: the watch ended with %v after %s", id, err, describeEvents(seen))
		}
	}
}

func TestAChatMayBeDeletedInEveryStatus(t *testing.T) {
	t.Parallel()
	a := deploy(t).raw()
	a.start("a", "--slots=1")
	reach := map[chat.Status]func(chat.ID){
		chat.Waiting: func(id chat.ID) { a.send(id, "one"); a.answered(id) },
		chat.Parked:  func(id chat.ID) { a.send(id, "#status=401"); a.answered(id) },
		chat.Running: func(id chat.ID) { a.send(id, "#tokens=2 #hold=1"); a.held(string(id)); a.say(id, "queued") },
		chat.Pending: func(id chat.ID) { a.send(id, "one"); a.say(id, "queued") }, // the one slot is taken
	}
	for _, status := range []chat.Status{chat.Waiting, chat.Parked, chat.Running, chat.Pending} {
		id := chat.ID("c-" + status)
		w := a.watch(a.create(id).ID)
		reach[status](id)
		if row := a.get(id); row.Status != status {
			t.Fatalf("the chat is %s and should be %s", row.Status, status)
		}
		if status == chat.Running {
			continue // its run keeps the slot while the pending one is deleted
		}
		a.delete(id)
		w.until("the deletion", func(seen []chat.Event) bool { return has(seen, chat.DeletedEvent) })
	}
	a.delete("c-running")
	a.send("after", "one")
	a.answered("after") // the slot is free again
	for _, status := range chat.Statuses() {
		if left := a.left("c-" + chat.ID(status)); left != nil {
			t.Errorf("%s: the streams still hold %v", status, left)
		}
	}
	var rows int
	a.must(a.connect().QueryRow(a.ctx, `select (select count(*) from processor.messages) + (select count(*) from processor.queued_messages)`).Scan(&rows))
	if rows != 2 {
		t.Errorf("%d messages are left, want those of the chat that was made last", rows)
	}
	if calls := a.ended("c-running"); len(calls) != 1 || calls[0].Outcome != llmtest.Left {
		t.Errorf("the calls of the chat deleted in mid-stream are %v", calls)
	}
	if n := len(a.calls("c-pending")); n != 0 {
		t.Errorf("a deleted chat was answered by %d calls", n)
	}
}
