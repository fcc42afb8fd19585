package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
	"processor/internal/chat/chattest"
	"processor/internal/chat/llm/llmtest"
)

// history is what there is to judge a run by: what clients asked and were told, what watchers saw, what the provider was asked, every
// change of a chat's row, what became of the replicas, and what Postgres holds at the end.
type history struct {
	Requests []request
	Watches  []watch
	Calls    []llmtest.Call
	Moves    []move
	Entries  []entry
	Losses   []loss
	Lives    []life
	Troubles []trouble
	Rows     chattest.Rows
	// LostAfter and SuspectAfter are the replicas' timings.
	LostAfter, SuspectAfter time.Duration
}

// result is what a client knows of a request.
type result string

const (
	accepted result = "accepted"
	refused  result = "refused"
	unknown  result = "unknown"
)

// request is one try of a client. Several with one client_id are tries of one message.
type request struct {
	At, Done time.Time
	Who      string
	Web      bool   // over HTTP
	Op       string // as in the subject: send, create, interrupt …
	Chat     chat.ID
	Client   string // client_id of the message, if it has one
	Text     string
	Busy     chat.Busy
	Turn     int
	// Message and Version are what a truncation names.
	Message, Version int64
	Result           result
	Why              string
	// Number and ID are those of the chat and of the message in the reply; a queued message has no ID.
	Number chat.Number
	ID     int64
}

// watch is what one watcher of one chat saw.
type watch struct {
	Who   string
	Web   bool
	Chat  chat.ID
	After int64
	Seen  []sight
	// Alive says that it was still watching at the end; Gone that it was told that the chat is deleted; Err why it ended by itself.
	Alive, Gone bool
	Err         string
	// Left is what is shown of an answer that was not committed in the end.
	Left string
}

// sight is an event as a watcher saw it. Deltas are kept as what they had shown of an answer when its message came.
type sight struct {
	At      time.Time
	Type    chat.EventType
	Number  chat.Number
	Epoch   int64
	Version int64
	Status  chat.Status
	ID      int64
	From    int64 // of the first of those removed
	Role    chat.Role
	Finish  chat.Finish
	Text    string
	Shown   string
}

// move is one change of a chat's row, as a trigger of the suite's database noted it in the same transaction.
type move struct {
	Seq, Tx   int64
	At        time.Time
	Op        string // INSERT, UPDATE, DELETE
	Number    chat.Number
	Chat      chat.ID
	Status    chat.Status
	Version   int64
	Epoch     int64
	Turn      int
	Step      int
	Worker    chat.WorkerID
	Attempts  int
	Takeovers int
	Queued    int
	Error     string
}

// loss is a worker that was declared lost.
type loss struct {
	At     time.Time
	Worker chat.WorkerID
	Name   string
	Cause  chat.LostCause
}

// life is that of one process. Times that are zero did not come.
type life struct {
	Slot, Name                      string
	PID                             int
	Log                             string
	Started, Killed, Ended, Stopped time.Time // Ended: was sent SIGTERM; Stopped: the process is gone
	Code                            int
	Races, Panics                   int
	// Workers are its registrations.
	Workers []chat.WorkerID
}

// trouble is a time in which the plan kept a replica, or all of them, from a server or from running at all.
type trouble struct {
	Slot     string // empty: all
	With     string // postgres, nats, or itself
	From, To time.Time
}

// ledger collects a history while it happens.
type ledger struct {
	mu       sync.Mutex
	requests []request
	watches  []*viewing
	troubles []trouble
}

func (l *ledger) asked(r request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r)
}

func (l *ledger) troubled(slot, with string, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.troubles = append(l.troubles, trouble{slot, with, from, time.Now()})
}

// auditSQL makes Postgres itself keep the history of its rows.
const auditSQL = `
create schema chaos;
create sequence chaos.seq;
create table chaos.moves (
  seq bigint primary key default nextval('chaos.seq'), tx bigint not null default pg_current_xact_id()::text::bigint, at timestamptz not null default clock_timestamp(), op text not null, number bigint not null,
  id text not null, status text not null, version bigint not null, epoch bigint not null, turn int not null, step int not null,
  worker text not null, attempts int not null, takeovers int not null, queued int not null, error text not null);
create function chaos.note() returns trigger language plpgsql as $$
declare c processor.chats;
begin
  if tg_op = 'DELETE' then c := old; else c := new; end if;
  insert into chaos.moves (op, number, id, status, version, epoch, turn, step, worker, attempts, takeovers, queued, error)
  values (tg_op, c.number, c.id, c.status, c.version, c.epoch, c.turn, c.step, coalesce(c.worker_id, ''), c.attempts, c.takeovers, c.queued,
    coalesce(c.last_error->>'code', ''));
  return null;
end $$;
create trigger note after insert or delete on processor.chats for each row execute function chaos.note();
create trigger note_change after update on processor.chats for each row
  when ((old.version, old.epoch) is distinct from (new.version, new.epoch)) execute function chaos.note();

create table chaos.entries (
  seq bigint primary key default nextval('chaos.seq'), tx bigint not null default pg_current_xact_id()::text::bigint, op text not null,
  number bigint not null, message bigint not null, turn int not null, step int not null, epoch bigint not null, role text not null,
  parts jsonb not null, finish text not null, client_id text not null);
create function chaos.note_message() returns trigger language plpgsql as $$
declare m processor.messages;
begin
  if tg_op = 'DELETE' then m := old; else m := new; end if;
  insert into chaos.entries (op, number, message, turn, step, epoch, role, parts, finish, client_id)
  values (tg_op, m.chat, m.id, m.turn, m.step, m.epoch, m.role, m.parts, m.finish, coalesce(m.client_id, ''));
  return null;
end $$;
create trigger note after insert or delete on processor.messages for each row execute function chaos.note_message();

create table chaos.workers (at timestamptz not null default clock_timestamp(), id text not null, name text not null, cause text not null);
create function chaos.note_worker() returns trigger language plpgsql as $$
begin
  insert into chaos.workers (id, name, cause) values (new.id, new.name, coalesce(new.lost_cause, ''));
  return null;
end $$;
create trigger note after insert on processor.workers for each row execute function chaos.note_worker();
create trigger note_loss after update on processor.workers for each row
  when (old.lost_at is null and new.lost_at is not null) execute function chaos.note_worker();`

// readMoves reads what the triggers noted of chats.
func readMoves(ctx context.Context, conn *pgx.Conn) ([]move, error) {
	rows, err := conn.Query(ctx, `select seq, tx, at, op, number, id, status, version, epoch, turn, step, worker, attempts, takeovers, queued, error
		from chaos.moves order by seq`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[move])
}

// readWorkers reads who registered (without a cause) and who was declared lost.
func readWorkers(ctx context.Context, conn *pgx.Conn) ([]loss, error) {
	rows, err := conn.Query(ctx, `select at, id, name, cause from chaos.workers order by at`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[loss])
}

// readRows reads what Postgres holds, of workers nothing.
func readRows(ctx context.Context, conn *pgx.Conn, all []chat.Chat) (rows chattest.Rows, err error) {
	dispatches := map[chat.Number]chattest.Dispatch{}
	var number chat.Number
	var dispatch chattest.Dispatch
	q, _ := conn.Query(ctx, `select number, dispatch_at, dispatches from processor.chats`)
	if _, err := pgx.ForEachRow(q, []any{&number, &dispatch.At, &dispatch.Count}, func() error { dispatches[number] = dispatch; return nil }); err != nil {
		return rows, err
	}
	ids := map[chat.Number]chat.ID{}
	for _, c := range all {
		ids[c.Number] = c.ID
		rows.Chats = append(rows.Chats, chattest.ChatRow{Chat: c, Dispatch: dispatches[c.Number]})
	}
	const messages = `select chat, id, turn, step, epoch, role, parts, finish, error, coalesce(client_id, ''), created_at from processor.messages order by id`
	const queue = `select chat, null::bigint, 0, 0, 0::bigint, 'user', parts, '', null::jsonb, client_id, created_at from processor.queued_messages order by id`
	for statement, to := range map[string]*[]chattest.MessageRow{messages: &rows.Messages, queue: &rows.Queue} {
		q, _ := conn.Query(ctx, statement)
		*to, err = pgx.CollectRows(q, func(row pgx.CollectableRow) (r chattest.MessageRow, err error) {
			m := &r.Message
			err = row.Scan(&r.Number, &m.ID, &m.Turn, &m.Step, &m.Epoch, &m.Role, &m.Parts, &m.Finish, &m.Error, &m.ClientID, &m.CreatedAt)
			m.Chat = ids[r.Number]
			return r, err
		})
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// describe tells everything about one chat, in the order of time.
func (h history) describe(id chat.ID) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	add := func(at time.Time, format string, args ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, args...)})
	}
	for _, r := range h.Requests {
		if r.Chat == id {
			add(r.At, "%s asks %s %s %s turn=%d message=%d %.60q: %s %s after %s (number %d, message %d)", r.Who, r.Op, r.Client, r.Busy, r.Turn, r.Message, r.Text,
				r.Result, r.Why, r.Done.Sub(r.At).Round(time.Millisecond), r.Number, r.ID)
		}
	}
	for _, m := range h.Moves {
		if m.Chat == id {
			add(m.At, "row %s number=%d v=%d %s epoch=%d turn=%d step=%d worker=%s attempts=%d takeovers=%d queued=%d %s", m.Op, m.Number, m.Version, m.Status,
				m.Epoch, m.Turn, m.Step, m.Worker, m.Attempts, m.Takeovers, m.Queued, m.Error)
		}
	}
	for _, c := range h.Calls {
		if c.Chat() == string(id) {
			add(c.At, "model call %s: %s after %s", c.ID, c.Outcome, c.Ended.Sub(c.At).Round(time.Millisecond))
		}
	}
	for _, w := range h.Watches {
		if w.Chat != id {
			continue
		}
		for _, s := range w.Seen {
			add(s.At, "%s sees %s epoch=%d v=%d %s %s from=%d id=%d %s %.60q", w.Who, s.Type, s.Epoch, s.Version, s.Status, s.Role, s.From, s.ID, s.Finish, s.Text)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintln(&b, l.at.Format("15:04:05.000"), l.text)
	}
	if row, ok := h.Rows.Chat(id); ok {
		fmt.Fprintf(&b, "at the end %s, epoch %d, turn %d, queued %d\n", row.Chat.Status, row.Chat.Epoch, row.Chat.Turn, row.Chat.Queued)
		for _, m := range h.Rows.History(row.Chat.Number) {
			fmt.Fprintf(&b, "  %d turn=%d epoch=%d %s %s %s %.80q\n", *m.ID, m.Turn, m.Epoch, m.Role, m.ClientID, m.Finish, m.Text())
		}
	}
	return b.String()
}
