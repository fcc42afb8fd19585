package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
)

// lively makes a chat through whose life run most of what can happen to a stream: deltas, thinking, a failed call, a killed owner, an error that
// somebody retries, an interruption.
func (d *deployment) lively(id chat.ID, w *web) {
	d.t.Helper()
	path := "/v1/chats/" + string(id)
	say := func(text string) {
		d.t.Helper()
		answerOf[chat.SendReply](w, 202, "POST", path+"/messages", `{"text":"`+text+`"}`)
	}
	say("#tokens=12 #delay=60ms")
	d.answered(id)
	say("#think=4 #tokens=8 #delay=60ms #reset=5 #times=1")
	d.answered(id)
	say("#tokens=30 #hold=15 #delay=10ms")
	d.held(string(id))
	d.owner(id).kill()
	d.held(string(id))
	d.provider.Gate(string(id)).Open()
	d.answered(id)
	say("#status=401 #times=1")
	d.answered(id)
	answerOf[chat.ChatReply](w, 200, "POST", path+"/retry", "")
	d.answered(id)
	say("#tokens=30 #hold=10 #gate=stop")
	d.held("stop")
	answerOf[chat.ChatReply](w, 200, "POST", path+"/interrupt", "")
	d.answered(id)
}

// TestAStreamThatIsCutAnywhereGoesOnWhereItWas: one client sees a chat's life without a break; another is cut at random places and comes back to one replica or
// another with its cursor; and later, with NATS wiped, a client comes back from every event that there ever was. All of them end with the same.
func TestAStreamThatIsCutAnywhereGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	relay, other := d.relay(HTTPFlags{}), d.relay(HTTPFlags{})
	d.start("a")
	d.start("b")
	d.create("c")
	const path = "/v1/chats/c/events"
	over := func(f frame) bool { return framed("status", `"status":"waiting"`, `"turn":5`)(f) }

	uncut := relay.stream(path, "")
	var reading sync.WaitGroup
	cut := d.cutAtRandom([]*web{relay, other}, path, over, &reading)
	d.lively("c", relay)
	whole := uncut.until("the end of the last turn", over)
	reading.Wait()
	d.rising(whole)
	if voids := slices.IndexFunc(whole, framed("void")); voids < 0 {
		t.Error("nothing was voided")
	}
	d.rising(*cut)
	if diff := cmp.Diff(settledIn(whole), settledIn(*cut)); diff != "" {
		t.Errorf("the stream that was cut differs (-uncut +cut): %s", diff)
	}

	events := withID(whole)
	for i, f := range events {
		if i == len(events)/2 {
			d.must(d.nats.Wipe(d.ctx))
		}
		from := []*web{relay, other}[rand.N(2)].stream(path, f.id)
		replayed := from.until("the row", rest)
		from.close()
		all := append(slices.Clone(events[:i+1]), replayed...)
		d.rising(all)
		if diff := cmp.Diff(settledIn(whole), settledIn(all)); diff != "" {
			t.Fatalf("the stream that was cut after %s differs (-uncut +cut): %s", f.id, diff)
		}
		if later := events[i+1:]; !slices.ContainsFunc(later, framed("void")) {
			if diff := cmp.Diff(fmt.Sprint(later), fmt.Sprint(withID(replayed))); diff != "" {
				t.Fatalf("after %s came something else (-live +replayed): %s", f.id, diff)
			}
		}
	}
	d.sameHistory("c", settledIn(whole))
}

// cutAtRandom reads a stream with many breaks, in the background.
func (d *deployment) cutAtRandom(from []*web, path string, over func(frame) bool, reading *sync.WaitGroup) *[]frame {
	all := &[]frame{}
	reading.Go(func() {
		cursor := ""
		for {
			s, err := from[rand.N(len(from))].tryStream(path, cursor)
			if err != nil {
				d.t.Error(err)
				return
			}
			for range 1 + rand.N(12) {
				f, err := s.next()
				if err != nil {
					d.t.Errorf("the stream ended with %v after %v", err, s.seen)
					return
				}
				if *all = append(*all, f); f.id != "" {
					cursor = f.id
				}
				if over(f) {
					s.close()
					return
				}
			}
			s.close()
		}
	})
	return all
}

// sameHistory checks that the messages of a stream are those that Postgres has.
func (d *deployment) sameHistory(id chat.ID, events []string) {
	d.t.Helper()
	var want, got []string
	for _, m := range d.history(id) {
		want = append(want, fmt.Sprintf(`"id":%d,`, *m.ID))
	}
	for _, e := range events {
		if strings.Contains(e, " message ") {
			_, after, _ := strings.Cut(e, `"message":{`)
			word, _, _ := strings.Cut(after, ",")
			got = append(got, word+",")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.t.Errorf("messages (-Postgres +stream): %s", diff)
	}
}

// TestAWatcherWhoseRelayDiesGoesOnAtAnother kills the replica that relays, while another one answers.
func TestAWatcherWhoseRelayDiesGoesOnAtAnother(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.startHTTP("a")
	d.send("c", "#tokens=30 #hold=10 #delay=10ms")
	d.held("c")
	b := d.startHTTP("b") // never owns the chat
	s := d.over(b.http).stream("/v1/chats/c/events", "")
	s.until("some of the answer", framed("delta", "w5"))
	b.kill()
	for {
		if _, err := s.next(); err != nil {
			if errors.Is(err, io.EOF) {
				t.Error("a killed replica ended its stream cleanly")
			}
			break
		}
	}
	seen := withID(s.seen)
	d.provider.Gate("c").Open()
	rest := d.over(a.http).stream("/v1/chats/c/events", seen[len(seen)-1].id).until("the rest", framed("status", `"status":"waiting"`))
	all := append(seen, rest...)
	d.rising(all)
	if got := spokenIn(all); got != counted(30) {
		t.Errorf("the deltas are %q", got)
	}
}

// spokenIn joins the text of all deltas.
func spokenIn(all []frame) string {
	var b strings.Builder
	for _, f := range all {
		if f.event == "delta" {
			_, after, _ := strings.Cut(f.data, `"text":"`)
			text, _, _ := strings.Cut(after, `"`)
			b.WriteString(text)
		}
	}
	return b.String()
}

// TestStreamsEndCleanlyWhenTheirReplicaDrains, and the chat goes on elsewhere.
func TestStreamsEndCleanlyWhenTheirReplicaDrains(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	a := d.startHTTP("a", "--drain-timeout", "1s")
	d.send("c", "#tokens=30 #hold=10 #delay=10ms")
	d.held("c")
	s := d.over(a.http).stream("/v1/chats/c/events", "")
	all := d.over(a.http).stream("/v1/events", "")
	all.until("its beginning", framed("sync"))
	s.until("some of the answer", framed("delta", "w5"))
	b := d.startHTTP("b")
	a.drain()
	for _, stream := range []*sse{s, all} {
		for {
			if _, err := stream.next(); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("the stream ended with %v", err)
				}
				break
			}
		}
	}
	if code := a.exited(); code != 0 {
		t.Errorf("the replica ended with %d", code)
	}
	seen := withID(s.seen)
	d.held("c")
	d.provider.Gate("c").Open()
	seen = append(seen, d.over(b.http).stream("/v1/chats/c/events", seen[len(seen)-1].id).until("the rest", framed("status", `"status":"waiting"`))...)
	d.rising(seen)
	d.sameHistory("c", settledIn(seen))
}

func TestWhoComesWithoutACursorGetsMessagesAndWhatIsBeingSaid(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.relay(HTTPFlags{})
	d.start("a")
	d.send("c", "#tokens=5")
	d.answered("c")
	d.say("c", "#tokens=20 #hold=10")
	d.held("c")
	seen := w.stream("/v1/chats/c/events", "").until("what was said so far", framed("delta", "w9"))
	var kinds []string
	for _, f := range seen {
		if len(kinds) == 0 || f.event != "delta" || kinds[len(kinds)-1] != "delta" {
			kinds = append(kinds, f.event)
		}
	}
	if diff := cmp.Diff([]string{"message", "message", "message", "status", "delta"}, kinds); diff != "" {
		t.Error(diff)
	}
	d.provider.Gate("c").Open()
	d.answered("c")
	from := w.stream("/v1/chats/c/events?last_event_id="+seen[0].id, "").until("the row", rest)
	if got := spokenIn(from); got != counted(5)+counted(20) {
		t.Errorf("with a cursor the deltas are %q", got)
	}
}

// TestACursorOfAnotherChatUnderTheSameIDBeginsAnew, and so does one of a future that was lost.
func TestACursorOfAnotherChatUnderTheSameIDBeginsAnew(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.relay(HTTPFlags{})
	d.start("a")
	d.send("c", "#tokens=2")
	d.answered("c")
	s := w.stream("/v1/chats/c/events", "")
	cursor := withID(s.until("the row", rest))[1].id
	answerOf[chat.DeleteReply](w, 200, "DELETE", "/v1/chats/c", "")
	s.until("the end", framed("deleted"))
	if f, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end came %v, %v", f, err)
	}
	d.send("c", "#tokens=3")
	d.answered("c")
	number := fmt.Sprint(d.get("c").Number)
	for _, old := range []string{cursor, number + "-7-0-0"} {
		seen := w.stream("/v1/chats/c/events", old).until("the row", rest)
		if seen[0].event != "reset" || len(withID(seen)) != 2 || !strings.Contains(seen[2].data, "w2") {
			t.Errorf("after %s came %v", old, seen)
		}
	}
}

// TestATruncationIsToldLiveAndToWhoWasAway has a client that watches, and one that comes back with a cursor in a turn that is gone.
func TestATruncationIsToldLiveAndToWhoWasAway(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.relay(HTTPFlags{})
	d.start("a")
	for range 3 {
		d.send("c", "#tokens=2")
		d.answered("c")
	}
	live := w.stream("/v1/chats/c/events", "")
	before := withID(live.until("the row", rest))
	second := *d.history("c")[2].ID
	answerOf[chat.TruncateReply](w, 202, "POST", "/v1/chats/c/truncate", fmt.Sprintf(`{"message":%d,"text":"#tokens=4"}`, second))
	d.answered("c")
	told := framed("removed", fmt.Sprintf(`"removed_from":%d`, second))
	live.until("the removal", told)
	live.until("the new answer", framed("message", "w3"))
	for i, f := range before {
		seen := w.stream("/v1/chats/c/events", f.id).until("the row", rest)
		at := slices.IndexFunc(seen, func(f frame) bool { return f.event == "removed" })
		if (at >= 0) != (i >= 2) { // events 0 and 1 are of the first turn, which stays
			t.Errorf("after event %d came %v", i, seen)
		}
		if at > 0 && len(withID(seen[:at])) > 0 {
			t.Errorf("the removal comes after %v", seen[:at])
		}
		if last := withID(seen); !strings.Contains(last[len(last)-1].data, "w3") {
			t.Errorf("the new answer does not come after event %d: %v", i, seen)
		}
	}
}

func TestEventsOfAllChatsRingForLists(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	w := d.relay(HTTPFlags{HTTPToken: []httpToken{"all", "t=ours", "u=theirs"}})
	d.start("a")
	boss, ours, theirs := w.as("all"), w.as("ours"), w.as("theirs")
	var streams []*sse
	for _, who := range []*web{boss, ours, theirs} {
		s := who.stream("/v1/events", "")
		s.until("its beginning", framed("sync"))
		streams = append(streams, s)
	}
	answerOf[chat.CreateReply](ours, 201, "POST", "/v1/chats", `{"id":"c","message":{"text":"#tokens=3 #reset=1 #times=1"}}`)
	for _, s := range streams[:2] {
		s.until("a failed call", framed("retry", `"chat":"c"`, `"attempt":1`))
		s.until("the end", framed("status", `"chat":"c"`, `"status":"waiting"`))
	}
	answerOf[chat.DeleteReply](ours, 200, "DELETE", "/v1/chats/c", "")
	answerOf[chat.CreateReply](theirs, 201, "POST", "/v1/chats", `{"id":"d"}`)
	for _, s := range streams[:2] {
		s.until("the deletion", framed("deleted", `"chat":"c"`))
	}
	streams[0].until("the other chat", framed("status", `"chat":"d"`))
	for _, f := range streams[2].until("the own chat", framed("status", `"chat":"d"`)) {
		if strings.Contains(f.data, `"chat":"c"`) {
			t.Errorf("a tenant hears of another one's chat: %v", f)
		}
	}
	d.must(d.nats.Restart(d.ctx))
	for _, s := range streams {
		s.until("that events may have been lost", framed("sync"))
	}
}
