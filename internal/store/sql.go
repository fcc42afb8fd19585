package store

import (
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// args are the values of a statement's @names. A name that the statement lacks is ignored, a missing one is null.
type args map[string]any

// statement is SQL with its @names numbered.
type statement struct {
	sql   string
	names []string
}

// statements remembers what was numbered: pgx's own named arguments scan the text in every call, which takes longer than
// the server takes for a small statement.
type statements struct{ known sync.Map }

func (s *statements) of(sql string) *statement {
	if known, ok := s.known.Load(sql); ok {
		return known.(*statement)
	}
	known, _ := s.known.LoadOrStore(sql, number(sql))
	return known.(*statement)
}

var argument = regexp.MustCompile(`@[a-z_]+`)

func number(sql string) *statement {
	s := &statement{}
	s.sql = argument.ReplaceAllStringFunc(sql, func(name string) string {
		i := slices.Index(s.names, name[1:])
		if i < 0 {
			i = len(s.names)
			s.names = append(s.names, name[1:])
		}
		return "$" + strconv.Itoa(i+1)
	})
	return s
}

func (s *statement) values(a args) []any {
	values := make([]any, len(s.names))
	for i, name := range s.names {
		values[i] = a[name]
	}
	return values
}

// batch gathers the statements of one round trip.
type batch struct {
	pgx.Batch

	statements *statements
}

// query adds a statement; read gets its rows.
func (b *batch) query(sql string, a args, read func(pgx.Rows) error) {
	s := b.statements.of(sql)
	b.Queue(s.sql, s.values(a)...).Query(read)
}

// exec adds a statement whose rows nobody wants.
func (b *batch) exec(sql string, a args) {
	s := b.statements.of(sql)
	b.Queue(s.sql, s.values(a)...)
}

// from lists the statuses from which the table allows a transition.
func from(t chat.Transition) []string {
	var list []string
	for _, s := range t.From() {
		list = append(list, string(s))
	}
	return list
}

// guard is the clause of every write under a lease (I2). No such write goes around it.
const guard = `c.number = @number and c.epoch = @epoch and c.worker_id = @worker and c.turn = @turn and c.step = @step
    and c.status = any(@from::text[])`

// guarded are the values of the guard's names.
func guarded(t chat.Transition, l chat.Lease) args {
	return args{"number": l.Number, "epoch": l.Epoch, "worker": l.Worker, "turn": l.Turn, "step": l.Step, "from": from(t)}
}

// Parts of the set list of an update of chats.
const (
	// changing is in every transition.
	changing = `version = c.version + 1, updated_at = now()`
	// anew gives a turn its budgets.
	anew = `attempts = 0, retry_at = null, takeovers = 0, recoveries = 0, interrupt_turn = 0`
	// waking makes the chat pending.
	waking = `status = 'pending', worker_id = null, claimed_at = null, idle_at = null, dispatches = 0, dispatch_at = now() + @redispatch::interval`
)

// lockSQL is the first statement of every transition that reads messages or the queue. A statement that waited for the row would
// see other tables as they were before the wait; the statements after this one don't wait and see what is.
const lockSQL = `
select ` + chatColumns + ` from processor.chats c where c.id = @chat for update`

// lock queues lockSQL and keeps the row as it was.
func (w *written) lock(b *batch, a args) {
	b.query(lockSQL, a, func(rows pgx.Rows) error { return w.readChat(rows) })
}
