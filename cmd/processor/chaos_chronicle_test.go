package main

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// entry is a message that came into a chat's history or left it, as a trigger of the suite's database noted it in the same transaction.
type entry struct {
	Seq, Tx int64
	Op      string // INSERT, DELETE
	Number  chat.Number
	Message chat.Message
}

// readEntries reads what the triggers noted of messages.
func readEntries(ctx context.Context, conn *pgx.Conn) ([]entry, error) {
	rows, err := conn.Query(ctx, `select seq, tx, op, number, message, turn, step, epoch, role, parts, finish, client_id from chaos.entries order by seq`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e entry, err error) {
		m := &e.Message
		err = row.Scan(&e.Seq, &e.Tx, &e.Op, &e.Number, &m.ID, &m.Turn, &m.Step, &m.Epoch, &m.Role, &m.Parts, &m.Finish, &m.ClientID)
		return e, err
	})
}

// chapter is one transaction that changed a chat: its row, its history or both.
type chapter struct {
	at             time.Time // of the row's change, if there is one
	moves          []move
	written, taken []chat.Message
	before, after  []chat.Message // the history
}

// chronicle is the story of one chat. Whoever changes it holds its row, so its transactions follow one another.
type chronicle []chapter

// chronicles tells the stories of all chats.
func chronicles(moves []move, entries []entry) map[chat.Number]chronicle {
	type change struct {
		seq, tx int64
		number  chat.Number
		note    func(*chapter)
	}
	var all []change
	for _, m := range moves {
		all = append(all, change{m.Seq, m.Tx, m.Number, func(c *chapter) { c.at, c.moves = m.At, append(c.moves, m) }})
	}
	for _, e := range entries {
		all = append(all, change{e.Seq, e.Tx, e.Number, func(c *chapter) {
			if e.Op == "DELETE" {
				c.taken = append(c.taken, e.Message)
			} else {
				c.written = append(c.written, e.Message)
			}
		}})
	}
	slices.SortStableFunc(all, func(a, b change) int { return int(a.seq - b.seq) })
	told, last := map[chat.Number]chronicle{}, map[chat.Number]int64{}
	for _, c := range all {
		if last[c.number] != c.tx || len(told[c.number]) == 0 {
			told[c.number], last[c.number] = append(told[c.number], chapter{}), c.tx
		}
		c.note(&told[c.number][len(told[c.number])-1])
	}
	for _, story := range told {
		story.fold()
	}
	return told
}

// fold works out the history before and after each chapter.
func (s chronicle) fold() {
	var now []chat.Message
	for i := range s {
		c := &s[i]
		byID := func(a, b chat.Message) int { return int(*a.ID - *b.ID) }
		slices.SortFunc(c.written, byID)
		slices.SortFunc(c.taken, byID)
		c.before = now
		now = slices.DeleteFunc(slices.Clone(now), func(m chat.Message) bool { return contains(c.taken, *m.ID) })
		now = append(now, c.written...)
		c.after = now
	}
}

func contains(messages []chat.Message, id int64) bool {
	return slices.ContainsFunc(messages, func(m chat.Message) bool { return *m.ID == id })
}

// history is what the story ends with.
func (s chronicle) history() []chat.Message {
	if len(s) == 0 {
		return nil
	}
	return s[len(s)-1].after
}

// status is what the chat is doing in the end.
func (s chronicle) status() chat.Status {
	for _, c := range slices.Backward(s) {
		if n := len(c.moves); n > 0 {
			return c.moves[n-1].Status
		}
	}
	return ""
}

// longest are the histories that something was taken from, and the last. Whatever somebody saw at any time is the beginning of one.
func (s chronicle) longest() [][]chat.Message {
	all := [][]chat.Message{s.history()}
	for _, c := range s {
		if len(c.taken) > 0 {
			all = append(all, c.before)
		}
	}
	return all
}

// ended says whether the chat was deleted.
func (c chapter) ended() bool {
	return slices.ContainsFunc(c.moves, func(m move) bool { return m.Op == "DELETE" })
}

// retried says whether the failure that parked the chat was taken away, and nothing else.
func (c chapter) retried() bool {
	return len(c.written) == 0 && len(c.taken) == 1 && len(c.moves) == 1 && c.moves[0].Status == chat.Pending &&
		c.taken[0].Finish == chat.Failed && *c.taken[0].ID == *c.before[len(c.before)-1].ID
}

// cut is what a truncation did: from head on everything went, and anew opened a turn.
type cut struct {
	move       move
	head, anew chat.Message
}

// cut says what a truncation did, if the chapter is one as it should be.
func (c chapter) cut() (cut, bool) {
	if len(c.moves) != 1 || len(c.written) != 1 || len(c.taken) == 0 {
		return cut{}, false
	}
	t := cut{c.moves[0], c.taken[0], c.written[0]}
	kept := len(c.before) - len(c.taken)
	last := c.before[len(c.before)-1]
	whole := kept >= 0 && *c.before[kept].ID == *t.head.ID
	return t, whole && t.head.Role == chat.User && t.anew.Role == chat.User && t.anew.ClientID == t.head.ClientID && *t.anew.ID > *last.ID &&
		t.anew.Turn == t.move.Turn && t.anew.Turn > last.Turn && t.anew.Epoch == t.move.Epoch && t.move.Status == chat.Pending
}

// cuts are all truncations of the chat.
func (s chronicle) cuts() []cut {
	var all []cut
	for _, c := range s {
		if t, is := c.cut(); is {
			all = append(all, t)
		}
	}
	return all
}

// arrival is a message that came into a history from its sender, by way of the queue or not.
type arrival struct {
	message chat.Message
	at      time.Time
	// cut is when the same message was cut off before, if it was.
	cut time.Time
}

// lineage finds what became of a client's message: as it was sent, which is once again if it was cut away before the sender knew that it was
// accepted, and as it is after truncations, which give it another id and perhaps other words. away says that the last thing was a cut.
func (s chronicle) lineage(client string) (sent []arrival, all []chat.Message, away bool) {
	named := func(m chat.Message) bool { return m.ClientID == client }
	var last time.Time
	for _, c := range s {
		t, isCut := c.cut()
		if slices.ContainsFunc(c.taken, named) {
			last, away = c.at, isCut
		}
		if i := slices.IndexFunc(c.written, named); i >= 0 {
			all, away = append(all, c.written[i]), false
			if !isCut || t.anew.ClientID != client {
				sent = append(sent, arrival{c.written[i], c.at, last})
			}
		}
	}
	return sent, all, away
}
