package store

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// statement is SQL whose @names were numbered once; pgx's own named arguments would scan the text in every call.
type statement struct {
	sql   string
	names []string
}

// args are the values of a statement's names. A name that the statement lacks is ignored, a missing one is null.
type args map[string]any

var argument = regexp.MustCompile(`@[a-z_]+`)

func prepare(sql ...string) statement {
	var s statement
	s.sql = argument.ReplaceAllStringFunc(strings.Join(sql, ""), func(name string) string {
		i := slices.Index(s.names, name[1:])
		if i < 0 {
			i = len(s.names)
			s.names = append(s.names, name[1:])
		}
		return "$" + strconv.Itoa(i+1)
	})
	return s
}

func (s statement) values(a args) []any {
	values := make([]any, len(s.names))
	for i, name := range s.names {
		values[i] = a[name]
	}
	return values
}

// queue adds the statement to a batch; read gets its rows.
func (s statement) queue(b *pgx.Batch, a args, read func(pgx.Rows) error) {
	b.Queue(s.sql, s.values(a)...).Query(read)
}

// from lists the statuses from which the table allows a transition, for an SQL in.
func from(t chat.Transition) string {
	var list []string
	for _, s := range t.From() {
		list = append(list, "'"+string(s)+"'")
	}
	return strings.Join(list, ", ")
}

// guard is the clause of every write under a lease (I2). No such write goes around it.
func guard(t chat.Transition) string {
	return `c.number = @number and c.epoch = @epoch and c.worker_id = @worker and c.turn = @turn and c.step = @step
    and c.status in (` + from(t) + `)`
}

// lease are the values of the guard's names.
func lease(l chat.Lease) args {
	return args{"number": l.Number, "epoch": l.Epoch, "worker": l.Worker, "turn": l.Turn, "step": l.Step}
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
var lockSQL = prepare(`
select `, chatColumns, ` from processor.chats c where c.id = @chat for update`)

// lock queues lockSQL and keeps the row as it was.
func (w *written) lock(b *pgx.Batch, a args) {
	lockSQL.queue(b, a, func(rows pgx.Rows) error { return w.readChat(rows) })
}
